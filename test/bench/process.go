package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// buildPod builds cmd/api as `make build` does, with the product's go.mod and not the
// benchmarks'.
func buildPod(ctx context.Context) (binary string, remove func(), err error) {
	dir, err := os.MkdirTemp("", "bench-api-")
	if err != nil {
		return "", nil, err
	}
	remove = func() { _ = os.RemoveAll(dir) }
	binary = filepath.Join(dir, "api")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, "./cmd/api")
	build.Dir, build.Env = output("git", "rev-parse", "--show-toplevel"), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		remove()
		return "", nil, fmt.Errorf("build cmd/api: %w\n%s", err, out)
	}
	return binary, remove, nil
}

// process is a pod as a process of its own.
type process struct {
	address     string // host:port
	cmd         *exec.Cmd
	ready, live time.Duration // how long each took, from the start of the process
}

// startProcess runs a pod until it is live; more is added to its environment.
func startProcess(ctx context.Context, binary, url string, more ...string) (*process, error) {
	p := &process{address: freeAddress(), cmd: exec.CommandContext(ctx, binary)}
	p.cmd.Env = append(append(os.Environ(), "DATABASE_URL="+url, "LISTEN_ADDR="+p.address, "LOG_LEVEL=error"), more...)
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = diesWithUs()
	began := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	err := until(ctx, "a pod's listener is live", func() (bool, error) {
		response, err := http.Get("http://" + p.address + "/readyz")
		if err != nil {
			return false, nil
		}
		defer response.Body.Close()
		var state struct{ Listener string }
		_ = json.NewDecoder(response.Body).Decode(&state)
		if response.StatusCode == http.StatusOK && p.ready == 0 {
			p.ready = time.Since(began)
		}
		p.live = time.Since(began)
		return p.ready != 0 && state.Listener == "live", nil
	})
	if err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

func (p *process) stop() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// resident is the memory that the process holds, in MiB.
func (p *process) resident() (float64, error) {
	kib, err := kilobytes(p.cmd.Process.Pid, "status", "VmRSS")
	return kib / 1024, err
}

// metric is a value on the pod's metrics page, by its name and labels as written
// there.
func (p *process) metric(client *http.Client, name string) (float64, error) {
	response, err := client.Get("http://" + p.address + "/metrics")
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("/metrics has no %s", name)
}

// call makes a request, with a token unless it is empty, and reads the answer, which must be a 200.
func (p *process) call(ctx context.Context, client *http.Client, method, path, token, prefer, body string) (time.Duration, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+p.address+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	request.Header.Set("Content-Type", "application/json")
	if prefer != "" {
		request.Header.Set("Prefer", prefer)
	}
	began := time.Now()
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	took := time.Since(began)
	if err == nil && response.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %d: %.200s", method, path, response.StatusCode, answer)
	}
	return took, err
}
