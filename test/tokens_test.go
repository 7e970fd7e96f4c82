package test

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"platform-settings/test/pgtest"
	"platform-settings/test/pod"
)

// newToken runs `api token new` with an empty environment.
func newToken(t *testing.T, args ...string) (token, line string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), pod.Binary(t), append([]string{"token", "new"}, args...)...)
	cmd.Env = []string{}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(out), "\n")
	if len(lines) != 3 || lines[2] != "" {
		t.Fatalf("printed %q, want two lines", out)
	}
	return lines[0], lines[1]
}

// mount writes a file as Kubernetes mounts a secret: the path is a symbolic link into
// a directory that is one too, and an update replaces the directory's link.
func mount(t *testing.T, dir, name, content string) (path string) {
	t.Helper()
	version, err := os.MkdirTemp(dir, "..version-")
	if err == nil {
		err = os.WriteFile(filepath.Join(version, name), []byte(content), 0o600)
	}
	if err == nil {
		err = os.Symlink(filepath.Base(version), filepath.Join(dir, "..new"))
	}
	if err == nil {
		err = os.Rename(filepath.Join(dir, "..new"), filepath.Join(dir, "..data"))
	}
	path = filepath.Join(dir, name)
	if err == nil {
		if err = os.Symlink("..data/"+name, path); errors.Is(err, os.ErrExist) {
			err = nil
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestATokenIsRotatedWithoutAGap(t *testing.T) {
	t.Parallel()
	oldToken, oldLine := newToken(t, "--name", "ci", "--role", "operator")
	nextToken, nextLine := newToken(t, "--name", "ci", "--role", "operator", "--for", "90d")
	dir := t.TempDir()
	path := mount(t, dir, "tokens", oldLine)
	p := pod.Start(t, pgtest.Database(t), "ADMIN_TOKENS=", "ADMIN_TOKENS_FILE="+path)
	p.AwaitReady("ok")
	p.Must(401, "GET", "/api/v1/admin/whoami", nextToken, "")
	whoami := func(token string) pod.Answer { return p.Must(200, "GET", "/api/v1/admin/whoami", token, "") }

	// A client gets the next token once it is valid, and sends requests all the time.
	var token atomic.Pointer[string]
	token.Store(&oldToken)
	ended, finished := make(chan struct{}), make(chan int)
	go func() {
		asked := 0
		defer func() { finished <- asked }()
		for {
			select {
			case <-ended:
				return
			case <-time.After(time.Millisecond):
			}
			if a, err := p.Do("GET", "/api/v1/admin/whoami", *token.Load(), ""); err != nil || a.Status != 200 {
				t.Errorf("a gap: %d %v", a.Status, err)
				return
			}
			asked++
		}
	}()
	mount(t, dir, "tokens", oldLine+"\n"+nextLine)
	awaitWhoami(t, p, nextToken, 200)
	whoami(oldToken)
	token.Store(&nextToken)
	mount(t, dir, "tokens", nextLine)
	awaitWhoami(t, p, oldToken, 401)
	close(ended)
	if asked := <-finished; asked == 0 {
		t.Error("the client asked nothing")
	}
	got := whoami(nextToken).JSON(t)
	if until, err := time.Parse(time.RFC3339, fmt.Sprint(got["until"])); got["name"] != "ci" || got["role"] != "operator" || err != nil || time.Until(until) < 80*24*time.Hour {
		t.Errorf("whoami: %v", got)
	}

	mount(t, dir, "tokens", nextLine+"\n"+oldToken)
	p.AwaitReady("degraded")
	whoami(nextToken)
	if ready := string(p.Must(200, "GET", "/readyz", "", "").Body); !strings.Contains(ready, `"admin tokens file: line 2: want name:role:digest`) {
		t.Errorf("readyz: %s", ready)
	}
	mount(t, dir, "tokens", "# nobody")
	p.AwaitReady("ok")
	p.Must(404, "GET", "/api/v1/admin/whoami", nextToken, "")
	for _, secret := range []string{oldToken, nextToken} {
		if strings.Contains(p.Log(), secret) {
			t.Error("the log holds a token")
		}
	}
}

func awaitWhoami(t *testing.T, p *pod.Pod, token string, status int) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		a, err := p.Do("GET", "/api/v1/admin/whoami", token, "")
		if err == nil && a.Status == status {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("whoami answers %d %v, want %d", a.Status, err, status)
		}
	}
}

func TestTokenNewAsJSONAndWordsThatItDoesNotUnderstand(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), pod.Binary(t), "token", "new", "--json", "--name=me", "--role=admin", "--for=12h").Output()
	var made struct{ Token, Line string }
	if err := errors.Join(err, json.Unmarshal(out, &made)); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	digest := fmt.Sprintf("%x", sha256.Sum256([]byte(made.Token)))
	end, err := time.Parse(time.RFC3339, strings.TrimPrefix(made.Line, "me:admin:"+digest+":"))
	if left := time.Until(end); err != nil || left > 12*time.Hour || left < 11*time.Hour {
		t.Errorf("printed %s", out)
	}
	for _, words := range []string{
		"token", "token old", "token new", "token new --name a", "token new --role admin", "token new --name a b --role admin", "token new --name a --role root",
		"token new --name a --role admin x", "token new --name a --role admin --for soon", "token new --name a --role admin --for 0d", "token new --name a --role admin --for -1h",
		"token new --name a --role admin --for 1.5d", "token new --name a --role admin --for 99999999999d", "token new --name a --role admin --for",
	} {
		cmd := exec.CommandContext(t.Context(), pod.Binary(t), strings.Fields(words)...)
		out, _ := cmd.Output()
		if code := cmd.ProcessState.ExitCode(); code != 2 || len(out) > 0 {
			t.Errorf("%s: exit code %d, %q", words, code, out)
		}
	}
}
