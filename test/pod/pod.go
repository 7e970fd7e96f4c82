// Package pod runs pods for tests: processes of the built cmd/api.
package pod

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Tokens of every pod, one for each role.
const (
	Viewer   = "viewer-token-0123456789-0123456789"
	Operator = "operator-token-0123456789-0123456789"
	Admin    = "admin-token-0123456789-0123456789"
)

// patience is how long a test waits for something that must happen.
const patience = 30 * time.Second

var build struct {
	once sync.Once
	dir  string
	err  error
}

// Binary builds cmd/api once per test process; [Clean] removes it.
func Binary(t testing.TB) string {
	t.Helper()
	build.once.Do(func() {
		if build.dir, build.err = os.MkdirTemp("", "platform-settings-api-"); build.err != nil {
			return
		}
		out, err := exec.Command("go", "build", "-o", build.dir, "platform-settings/cmd/api").CombinedOutput()
		if err != nil {
			build.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if build.err != nil {
		t.Fatalf("build cmd/api: %v", build.err)
	}
	return filepath.Join(build.dir, "api")
}

// Clean removes what Binary built.
func Clean() { _ = os.RemoveAll(build.dir) }

// Pod is one process.
type Pod struct {
	t      testing.TB
	addr   string
	cmd    *exec.Cmd
	log    buffer
	exited chan struct{}
	err    error // of the process; read after exited

	// Client has connections to this pod only.
	Client *http.Client
}

// Start starts a pod on a database. Variables are NAME=value and override the pod's
// own. The pod ends with the test.
func Start(t testing.TB, databaseURL string, variables ...string) *Pod {
	t.Helper()
	p := &Pod{t: t, addr: FreeAddress(t), exited: make(chan struct{}), Client: &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 16},
		Timeout:       patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	p.cmd = exec.Command(Binary(t))
	p.cmd.Env = append([]string{
		"DATABASE_URL=" + databaseURL, "LISTEN_ADDR=" + p.addr, "LOG_LEVEL=debug",
		"ADMIN_TOKENS=vera:viewer:" + Viewer + ",oscar:operator:" + Operator + ",ada:admin:" + Admin,
	}, variables...)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start a pod: %v", err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.Client.CloseIdleConnections()
		p.Kill()
		if t.Failed() {
			t.Logf("log of the pod at %s, without successful requests:\n%s", p.addr, withoutRequests(p.Log()))
		}
	})
	return p
}

// withoutRequests leaves out successful requests, because a test may make a thousand.
func withoutRequests(log string) string {
	var rest strings.Builder
	for line := range strings.Lines(log) {
		if !strings.Contains(line, `"msg":"request"`) || !strings.Contains(line, `"status":200`) {
			rest.WriteString(line)
		}
	}
	return rest.String()
}

// Fleet starts n pods and waits until each is ready and listens.
func Fleet(t testing.TB, n int, databaseURL string, variables ...string) []*Pod {
	t.Helper()
	pods := make([]*Pod, n)
	for i := range pods {
		pods[i] = Start(t, databaseURL, append([]string{fmt.Sprintf("POD_NAME=pod-%d", i+1)}, variables...)...)
	}
	for _, p := range pods {
		p.AwaitReady("ok")
	}
	return pods
}

// URL of a path on the pod.
func (p *Pod) URL(path string) string { return "http://" + p.addr + path }

// Addr is host and port of the pod.
func (p *Pod) Addr() string { return p.addr }

// Log is what the pod has printed so far.
func (p *Pod) Log() string { return p.log.String() }

// Answer is a response, read whole.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// JSON decodes the body.
func (a Answer) JSON(t testing.TB) (v map[string]any) {
	t.Helper()
	if err := json.Unmarshal(a.Body, &v); err != nil {
		t.Fatalf("%v: %s", err, a.Body)
	}
	return v
}

// Do sends a request; an empty token or body is left out.
func (p *Pod) Do(method, path, token, body string) (Answer, error) {
	request, err := http.NewRequest(method, p.URL(path), strings.NewReader(body))
	if err != nil {
		return Answer{}, err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := p.Client.Do(request)
	if err != nil {
		return Answer{}, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	return Answer{response.StatusCode, response.Header, content}, err
}

// Must is [Pod.Do]. It fails the test on an error or another status.
func (p *Pod) Must(status int, method, path, token, body string) Answer {
	p.t.Helper()
	a, err := p.Do(method, path, token, body)
	if err != nil {
		p.t.Fatalf("%s %s: %v", method, path, err)
	}
	if a.Status != status {
		p.t.Fatalf("%s %s: %d, want %d: %s", method, path, a.Status, status, a.Body)
	}
	return a
}

// Status is the status of the answer to a GET of the path.
func (p *Pod) Status(path string) int {
	p.t.Helper()
	a, err := p.Do("GET", path, "", "")
	if err != nil {
		p.t.Fatalf("GET %s: %v", path, err)
	}
	return a.Status
}

// AwaitStatus polls until a GET of the path is answered with this status.
func (p *Pod) AwaitStatus(path string, status int) {
	p.t.Helper()
	p.await(fmt.Sprintf("%s answers %d", path, status), func() (bool, string) {
		a, err := p.Do("GET", path, "", "")
		return err == nil && a.Status == status, fmt.Sprint(a.Status, err)
	})
}

// AwaitReady polls until /readyz reports this status.
func (p *Pod) AwaitReady(status string) {
	p.t.Helper()
	p.await("/readyz tells "+status, func() (bool, string) {
		a, err := p.Do("GET", "/readyz", "", "")
		var ready struct{ Status, Listener string }
		_ = json.Unmarshal(a.Body, &ready)
		return err == nil && ready.Status == status && (status != "ok" || ready.Listener == "live"), fmt.Sprintf("%v %s", err, a.Body)
	})
}

// AwaitRevision polls until the pod has this revision in force.
func (p *Pod) AwaitRevision(revision int) {
	p.t.Helper()
	p.await(fmt.Sprintf("revision %d is in force", revision), func() (bool, string) {
		a, err := p.Do("GET", "/readyz", "", "")
		var ready struct{ Revision int }
		_ = json.Unmarshal(a.Body, &ready)
		return err == nil && ready.Revision == revision, fmt.Sprintf("%v %s", err, a.Body)
	})
}

// AwaitLog waits until the pod has printed the text.
func (p *Pod) AwaitLog(text string) {
	p.t.Helper()
	p.await("it logs "+text, func() (bool, string) { return strings.Contains(p.Log(), text), "" })
}

func (p *Pod) await(what string, ok func() (bool, string)) {
	p.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		done, last := ok()
		if done {
			return
		}
		select {
		case <-p.exited:
			p.t.Fatalf("the pod at %s ended (%v) before %s", p.addr, p.err, what)
		case <-time.After(2 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("the pod at %s: never saw that %s; last: %s", p.addr, what, last)
		}
	}
}

// Signal sends the process a signal.
func (p *Pod) Signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// Pause stops the process, as pausing its machine would, and returns when none of
// its threads runs any more. [Pod.Resume] continues it.
func (p *Pod) Pause() {
	p.t.Helper()
	p.Signal(syscall.SIGSTOP)
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(p.cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil || !status.Stopped():
			p.t.Fatalf("pause the pod at %s: %v, status %x", p.addr, err, status)
		}
		return
	}
}

// Resume continues a paused process.
func (p *Pod) Resume() { p.Signal(syscall.SIGCONT) }

// Kill ends the process at once, if it still runs.
func (p *Pod) Kill() {
	p.Signal(syscall.SIGCONT)
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// Exited is closed when the process has ended.
func (p *Pod) Exited() <-chan struct{} { return p.exited }

// Exit waits until the process has ended and returns its exit code.
func (p *Pod) Exit() int {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-ctx.Done():
		p.t.Fatalf("the pod at %s did not end", p.addr)
		return -1
	}
}

// FreeAddress is an address that was free a moment ago. This process returns each
// one only once. Its port is below those that the system gives to outgoing
// connections, so that none of them takes it.
func FreeAddress(t testing.TB) string {
	t.Helper()
	for port := 20000 + os.Getpid()%240*50; port < 32000; port++ {
		taken.Lock()
		if !taken.ports[port] {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err == nil {
				taken.ports[port] = true
				taken.Unlock()
				_ = l.Close()
				return l.Addr().String()
			}
		}
		taken.Unlock()
	}
	t.Fatal("no free port")
	return ""
}

// taken are the ports that FreeAddress has returned.
var taken = struct {
	sync.Mutex
	ports map[int]bool
}{ports: map[int]bool{}}

// buffer is a bytes.Buffer that may be read while a process writes to it.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
