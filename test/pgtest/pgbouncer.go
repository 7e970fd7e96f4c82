package pgtest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// PgBouncer starts a PgBouncer in front of a database, in pool mode "session" or
// "transaction", and returns the URL through it. It stops when the test ends. If
// PgBouncer is not installed, the test is skipped, or fails if CI is set.
func PgBouncer(t testing.TB, databaseURL, mode string) string {
	t.Helper()
	binary, err := exec.LookPath("pgbouncer")
	for _, path := range []string{"/usr/sbin/pgbouncer", "/usr/local/sbin/pgbouncer"} {
		if err != nil {
			binary, err = exec.LookPath(path)
		}
	}
	if err != nil {
		Missing(t, "pgbouncer is not installed")
	}

	target, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		t.Fatalf("pgtest: pgbouncer: %v", err)
	}
	dir, err := os.MkdirTemp("", "pgbouncer-")
	if err != nil {
		t.Fatalf("pgtest: pgbouncer: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	port := freePort(t)
	users := filepath.Join(dir, "users")
	config := filepath.Join(dir, "pgbouncer.ini")
	content := fmt.Sprintf(`[databases]
* = host=%s port=%d
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = trust
auth_file = %s
pool_mode = %s
default_pool_size = 10
ignore_startup_parameters = extra_float_digits
`, target.Host, target.Port, port, users, mode)
	for path, text := range map[string]string{users: `"postgres" ""` + "\n", config: content} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatalf("pgtest: pgbouncer: %v", err)
		}
	}
	args := []string{config}
	if os.Geteuid() == 0 { // PgBouncer refuses to run as root
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatalf("pgtest: pgbouncer: %v", err)
		}
		args = append([]string{"-u", "nobody"}, args...)
	}
	cmd := exec.Command(binary, args...)
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatalf("pgtest: pgbouncer: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("log of pgbouncer:\n%s", log.String())
		}
	})
	url := fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s?sslmode=disable", port, target.Database)
	deadline := time.Now().Add(cleanupTimeout)
	for {
		conn, err := pgx.Connect(t.Context(), url)
		if err == nil {
			_ = conn.Close(t.Context())
			return url
		}
		if time.Now().After(deadline) {
			t.Fatalf("pgtest: pgbouncer does not answer: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// freePort is below the ports that the system gives to outgoing connections.
func freePort(t testing.TB) int {
	t.Helper()
	for port := 32000; port < 32700; port++ {
		if l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port)); err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("pgtest: no free port")
	return 0
}
