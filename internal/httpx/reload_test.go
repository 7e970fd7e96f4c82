package httpx

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

const (
	oldToken = "old-token-0123456789abcdef0123456789"
	newToken = "new-token-0123456789abcdef0123456789"
)

// followed loads tokens from a file and follows it, in fake time, until the test
// ends. step waits for the longest time that a change of the file may take to be
// used.
func followed(t *testing.T, path string) (tokens *Tokens, logs *observer.ObservedLogs, step func()) {
	t.Helper()
	core, logs := observer.New(zapcore.InfoLevel)
	tokens, err := LoadTokens(nil, path, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	follow(t, tokens.Run)
	return tokens, logs, func() {
		time.Sleep(reloadPeriod + settleRuns*settleTime)
		synctest.Wait()
	}
}

func follow(t *testing.T, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func rewrite(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (ts *Tokens) knows(secret string) bool {
	_, ok := ts.find(secret)
	return ok
}

func TestTokensFollowTheContentOfTheirFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := newFile(t, lineOf("ci", "operator", oldToken, ""))
		tokens, logs, step := followed(t, path)
		step()
		if n := logs.Len(); n != 0 {
			t.Errorf("logged %v while nothing changed", logs.All())
		}
		// The new content has the same length and the same modification time.
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		rewrite(t, path, lineOf("ci", "operator", newToken, ""))
		if err := os.Chtimes(path, time.Time{}, info.ModTime()); err != nil {
			t.Fatal(err)
		}
		step()
		if tokens.knows(oldToken) || !tokens.knows(newToken) {
			t.Errorf("knows the old one: %t, the new one: %t", tokens.knows(oldToken), tokens.knows(newToken))
		}
		rewrite(t, path, "# nobody any more\n")
		step()
		if tokens.knows(newToken) || !tokens.none() || tokens.Problem() != "" {
			t.Errorf("a file without a token: knows %t, none %t, problem %q", tokens.knows(newToken), tokens.none(), tokens.Problem())
		}
		if n := logs.FilterMessage("read again").Len(); n != 2 {
			t.Errorf("logged %v", logs.All())
		}
	})
}

// In Kubernetes, the files of a secret are links into a directory that is itself a
// link. An update changes that link.
func TestTokensFollowALinkThatMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		mount := func(name, content string) {
			t.Helper()
			if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
				t.Fatal(err)
			}
			rewrite(t, filepath.Join(dir, name, "tokens"), content)
			if err := os.Symlink(name, filepath.Join(dir, "..data_tmp")); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
				t.Fatal(err)
			}
		}
		mount("..1", lineOf("ci", "operator", oldToken, ""))
		path := filepath.Join(dir, "tokens")
		if err := os.Symlink("..data/tokens", path); err != nil {
			t.Fatal(err)
		}
		tokens, _, step := followed(t, path)
		mount("..2", lineOf("ci", "operator", newToken, ""))
		if err := os.RemoveAll(filepath.Join(dir, "..1")); err != nil {
			t.Fatal(err)
		}
		step()
		if tokens.knows(oldToken) || !tokens.knows(newToken) {
			t.Errorf("knows the old one: %t, the new one: %t", tokens.knows(oldToken), tokens.knows(newToken))
		}
	})
}

func TestAFileThatCannotBeUsedKeepsWhatItSaidAndRecovers(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, path string){
		"missing":   func(t *testing.T, path string) { _ = os.Remove(path) },
		"malformed": func(t *testing.T, path string) { rewrite(t, path, "ci:operator:"+newToken) },
		"too large": func(t *testing.T, path string) { rewrite(t, path, strings.Repeat("#\n", maxReloadedFile)) },
		"a directory": func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		},
		"a pipe": func(t *testing.T, path string) { // to open it would block
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Mkfifo(path, 0o600); err != nil {
				t.Skip(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := newFile(t, lineOf("ci", "operator", oldToken, ""))
				tokens, logs, step := followed(t, path)
				spoil(t, path)
				if _, err := LoadTokens(nil, path, nil); err == nil {
					t.Error("a pod starts with it")
				}
				step()
				step()
				step()
				if !tokens.knows(oldToken) {
					t.Error("the token is no longer known")
				}
				problem := tokens.Problem()
				if !strings.HasPrefix(problem, "admin tokens file: ") || strings.Contains(problem, newToken) || logs.FilterMessage("degraded").Len() != 1 || logs.Len() != 1 {
					t.Errorf("problem is %q, logged %v", problem, logs.All())
				}
				_ = os.Remove(path)
				rewrite(t, path, lineOf("ci", "operator", newToken, ""))
				step()
				if tokens.knows(oldToken) || !tokens.knows(newToken) || tokens.Problem() != "" || logs.FilterMessage("recovered").Len() != 1 {
					t.Errorf("afterwards: problem %q, logged %v", tokens.Problem(), logs.All())
				}
			})
		})
	}
}

func TestAFileThatComesBackAsItWasRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := newFile(t, lineOf("ci", "operator", oldToken, ""))
		tokens, _, step := followed(t, path)
		rewrite(t, path, "spoilt")
		step()
		if tokens.Problem() == "" {
			t.Fatal("no problem")
		}
		rewrite(t, path, lineOf("ci", "operator", oldToken, ""))
		step()
		if !tokens.knows(oldToken) || tokens.Problem() != "" {
			t.Errorf("problem is %q", tokens.Problem())
		}
	})
}

// The file is read just after it was emptied, before it is written again.
func TestAHalfWrittenFileIsNotBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := newFile(t, lineOf("ci", "operator", oldToken, ""))
		tokens, logs, _ := followed(t, path)
		time.Sleep(reloadPeriod - settleTime/2)
		for _, half := range []string{"", lineOf("ci", "operator", newToken, ""), lineOf("ci", "operator", oldToken, "") + lineOf("ci", "operator", newToken, "")} {
			rewrite(t, path, half)
			for range 8 {
				time.Sleep(settleTime / 8)
				if !tokens.knows(oldToken) {
					t.Fatal("refused meanwhile")
				}
			}
		}
		time.Sleep(settleRuns * settleTime)
		synctest.Wait()
		if !tokens.knows(newToken) || tokens.Problem() != "" || logs.FilterMessage("degraded").Len() != 0 {
			t.Errorf("afterwards: problem %q, logged %v", tokens.Problem(), logs.All())
		}
	})
}

func TestProblemsOfFilesAreInReadyz(t *testing.T) {
	tokens := loadTokens(t, "ada:admin:"+adminToken, "")
	s := serve(t, func(c *Config) { c.Tokens = tokens })
	tokens.all.report("gone")
	a := s.get(t, "/readyz", "")
	if got := a.json(t); a.status != 200 || got["status"] != "degraded" || !strings.Contains(a.body, `"problems":["admin tokens file: gone"]`) {
		t.Errorf("readyz: %d %s", a.status, a.body)
	}
	if metrics := s.get(t, "/metrics", "").body; !strings.Contains(metrics, "\nhttp_problems 1\n") {
		t.Error("metrics lack http_problems 1")
	}
}
