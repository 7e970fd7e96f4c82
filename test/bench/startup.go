package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// starting is a pod as a process: how long until it is ready, how large it is,
// and what it holds when idle.
func starting(ctx context.Context, r *report, o options) error {
	dir, err := os.MkdirTemp("", "bench-api-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "api")
	// As `make build` does, from the module's own go.mod, not from the benchmarks'.
	root := output("git", "rev-parse", "--show-toplevel")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, "./cmd/api")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build cmd/api: %w\n%s", err, out)
	}
	size, err := os.Stat(binary)
	if err != nil {
		return err
	}
	server, err := startPostgres(ctx, 50, nil)
	if err != nil {
		return err
	}
	defer stopPostgres(server)
	url, err := migrated(ctx, server)
	if err != nil {
		return err
	}
	starts := 20
	if o.quick {
		starts = 5
	}
	var ready, live sample
	var memory float64
	for range starts {
		d, l, kib, err := startProcess(ctx, binary, url)
		if err != nil {
			return err
		}
		ready, live, memory = append(ready, d), append(live, l), kib
	}
	s := r.section("a pod as a process", "From the start of the process until /readyz answers 200, and until its listener is live; database up, schema up to date.",
		"what", "p50", "max", "unit", "times")
	s.row("start to ready", milliseconds(ready.p50()), milliseconds(ready.max()), "ms", len(ready))
	s.row("start to live", milliseconds(live.p50()), milliseconds(live.max()), "ms", len(live))
	s.row("memory when idle (RSS)", round(memory/1024, 1), "", "MiB", 1)
	s.row("binary", round(float64(size.Size())/(1<<20), 1), "", "MiB", 1)
	r.reach("start to ready, database up", 300, milliseconds(ready.p50()), "ms, p50")
	return nil
}

// startProcess runs a pod until it is live.
func startProcess(ctx context.Context, binary, url string) (ready, live time.Duration, kib float64, err error) {
	address := freeAddress()
	cmd := exec.CommandContext(ctx, binary)
	cmd.Env = append(os.Environ(), "DATABASE_URL="+url, "LISTEN_ADDR="+address, "LOG_LEVEL=error")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = diesWithUs()
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, 0, 0, err
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	err = until(ctx, "a pod's listener is live", func() (bool, error) {
		response, err := http.Get("http://" + address + "/readyz")
		if err != nil {
			return false, nil
		}
		defer response.Body.Close()
		var state struct{ Listener string }
		_ = json.NewDecoder(response.Body).Decode(&state)
		if response.StatusCode == http.StatusOK && ready == 0 {
			ready = time.Since(began)
		}
		live = time.Since(began)
		return ready != 0 && state.Listener == "live", nil
	})
	if err != nil {
		return 0, 0, 0, err
	}
	resident := strings.TrimSuffix(fieldOf(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid), "VmRSS"), " kB")
	_, _ = fmt.Sscan(resident, &kib)
	return ready, live, kib, nil
}
