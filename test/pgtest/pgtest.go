// Package pgtest gives tests a real PostgreSQL: one server for a test process,
// started by the first test that asks for it, and a database for each test.
// NOTIFY stays within a database, so tests do not hear each other.
//
// A package that uses it needs this TestMain:
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"testing"
	"time"

	"platform-settings/internal/pgserver"
)

const (
	// stopTimeout is how long a fast shutdown may take before the server is killed.
	stopTimeout = 20 * time.Second
	// cleanupTimeout is for one statement after a test, when the test's own context
	// has ended.
	cleanupTimeout = 20 * time.Second
)

// shared is this process's one server. A failed start is not repeated, because every
// further test would wait for the same failure.
var shared struct {
	mu     sync.Mutex
	open   bool // Main runs
	server *pgserver.Server
	err    error
}

// Main runs the tests and then stops the shared server if one was started. It
// returns the process's exit code.
func Main(m *testing.M) int {
	shared.mu.Lock()
	shared.open = true
	shared.mu.Unlock()

	// Otherwise Ctrl-C would leave the server's directory behind, and also the server
	// on systems that do not end it with us.
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		_ = stop()
		os.Exit(130)
	}()

	code := m.Run()
	if err := stop(); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		return max(code, 1)
	}
	return code
}

func stop() error {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	shared.open = false
	if shared.server == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return shared.server.Stop(ctx)
}

// Server is the shared server. A test that kills or restarts its server uses a
// [Dedicated] one.
func Server(t testing.TB) *pgserver.Server {
	t.Helper()
	server, err := start(t.Context())
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	return server
}

func start(ctx context.Context) (*pgserver.Server, error) {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if !shared.open {
		return nil, errors.New("TestMain has to call pgtest.Main")
	}
	if shared.server == nil && shared.err == nil {
		shared.server, shared.err = pgserver.Start(ctx, pgserver.Config{})
	}
	return shared.server, shared.err
}

// Dedicated is a server for one test, which may kill or restart it.
func Dedicated(t testing.TB, config pgserver.Config) *pgserver.Server {
	t.Helper()
	server, err := pgserver.Start(t.Context(), config)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the test's server:\n%s", server.LogTail())
		}
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if err := server.Stop(ctx); err != nil {
			t.Errorf("pgtest: %v", err)
		}
	})
	return server
}

// Missing skips a test because this machine lacks what it needs. It fails the test if
// CI is set, because everything is installed there.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s, and CI is set", what)
	}
	t.Skipf("skipped: %s", what)
}
