package main

import (
	"bufio"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"platform-settings/internal/pgserver"
)

// output is what a running dev prints, line by line.
type output struct {
	t     *testing.T
	lines chan string
	all   strings.Builder // what was read so far
}

// await reads up to a line that matches and returns its groups.
func (o *output) await(pattern string) []string {
	o.t.Helper()
	const timeout = 90 * time.Second // a build with a cold cache
	expression := regexp.MustCompile(pattern)
	for late := time.After(timeout); ; {
		select {
		case line, open := <-o.lines:
			if !open {
				o.t.Fatalf("it ended without a line like %s:\n%s", pattern, o.all.String())
			}
			o.all.WriteString(line + "\n")
			if match := expression.FindStringSubmatch(line); match != nil {
				return match
			}
		case <-late:
			o.t.Fatalf("no line like %s:\n%s", pattern, o.all.String())
		}
	}
}

func TestTheFleetRunsAsPrintedAndLeavesNothing(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "dev")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	// Find PostgreSQL's binaries here, so that dev does not fetch them into the
	// directory that has to be empty at the end.
	postgres, err := pgserver.BinDir(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	temp := openDir(t)
	cmd := exec.Command(binary)
	cmd.Env = append(os.Environ(), "TMPDIR="+temp, "PG_BINDIR="+postgres)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill() // if the test fails; the children die with it
	out := &output{t: t, lines: make(chan string)}
	go func() {
		defer close(out.lines)
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
			select {
			case out.lines <- scanner.Text():
			case <-t.Context().Done():
				return
			}
		}
	}()

	var pids []int
	var urls []string
	for _, name := range []string{"PostgreSQL", "pod-1", "pod-2", "pod-3"} {
		match := out.await(`^` + name + ` +pid (\d+) +(\S+)$`)
		pid, err := strconv.Atoi(match[1])
		if err != nil {
			t.Fatal(err)
		}
		pids, urls = append(pids, pid), append(urls, match[2])
	}
	put := out.await(`^  curl -X PUT -H "Authorization: (.+)" -H 'Prefer: (.+)' -H 'Content-Type: (.+)' -d '(.+)' (http://\S+)$`)
	flip := out.await(`^  psql '(.+)' -c "(.+)"$`)
	look := out.await(`^  curl -i (http://\S+)$`)
	answers := func(want int) {
		t.Helper()
		response, err := http.Get(look[1])
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s answers %s, want %d", look[1], response.Status, want)
		}
	}
	answers(http.StatusOK)

	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, put[5], strings.NewReader(put[4]))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", put[1])
	request.Header.Set("Prefer", put[2])
	request.Header.Set("Content-Type", put[3])
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("PUT answers %s", response.Status)
	}
	out.await(`^revision \d+: on pod-1, pod-2, pod-3 within \d+ ms`)
	answers(http.StatusServiceUnavailable)

	conn, err := pgx.Connect(t.Context(), flip[1])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), flip[2]); err != nil {
		t.Fatal(err)
	}
	out.await(`^revision \d+: on pod-1, pod-2, pod-3 within \d+ ms`)
	answers(http.StatusOK)

	if err := syscall.Kill(pids[3], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	out.await(`^pod-3 has ended: signal: killed`)
	out.await(`"msg":"serving"`)
	if _, err := conn.Exec(t.Context(), flip[2]); err != nil {
		t.Fatal(err)
	}
	out.await(`^revision \d+: on pod-1, pod-2 within \d+ ms.*; not on pod-3$`)

	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	out.await(`^stopped$`)
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v, want exit status 0", err)
	}
	for i, pid := range pids {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d, %s, is left: %v", pid, urls[i], err)
		}
	}
	left, err := os.ReadDir(temp)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range left {
		t.Errorf("%s is left", entry.Name())
	}
}

// openDir makes a temporary directory that other accounts may enter, unlike
// t.TempDir: PostgreSQL does not run as root.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "dev-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
