package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// start starts a server that is stopped when the test ends.
func start(t *testing.T, config Config) *Server {
	t.Helper()
	s, err := Start(t.Context(), config)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("server log:\n%s", s.LogTail())
		}
		if err := s.Stop(context.Background()); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return s
}

// query runs one statement on a new connection.
func query(t *testing.T, s *Server, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL("postgres"))
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	defer conn.Close(t.Context())
	rows, err := conn.Query(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	values, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return strings.Join(values, ",")
}

func refuses(port int) bool {
	conn, err := net.Dial("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err == nil {
		conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

func TestStartAnswersWithItsDefaults(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Params: map[string]string{"max_connections": "17"}})
	for name, want := range map[string]string{
		"max_connections":  "17",
		"wal_level":        "logical",
		"fsync":            "off",
		"shared_buffers":   "64MB",
		"listen_addresses": "127.0.0.1",
		"server_encoding":  "UTF8",
		"port":             strconv.Itoa(s.Port()),
	} {
		if have := query(t, s, "show "+name); have != want {
			t.Errorf("%s = %q, want %q", name, have, want)
		}
	}
	if !strings.Contains(s.LogTail(), "ready to accept connections") {
		t.Errorf("log tail has no start message:\n%s", s.LogTail())
	}
	if err := s.StartAgain(t.Context()); err == nil {
		t.Error("a running server was started again")
	}
}

func TestFsyncIsKeptWhenAsked(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Fsync: true})
	if have := query(t, s, "show fsync") + query(t, s, "show full_page_writes"); have != "onon" {
		t.Errorf("fsync and full_page_writes = %s, want both on", have)
	}
}

func TestSocketAsksForAPassword(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	_, err := pgx.Connect(t.Context(), fmt.Sprintf("host=%s port=%d user=postgres password=guess sslmode=disable", s.SocketDir(), s.Port()))
	if err == nil || !strings.Contains(err.Error(), "password authentication failed") {
		t.Errorf("connect through the socket: %v", err)
	}
}

func TestStopLeavesNeitherProcessNorDirectory(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	p, dir := s.process.Load(), s.dir
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.gone:
	default:
		t.Error("processes remain")
	}
	if err := syscall.Kill(p.pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("signal to the old pid: %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("directory after stop: %v", err)
	}
	if !refuses(s.Port()) {
		t.Error("port is still open")
	}
	if s.PID() != 0 {
		t.Errorf("pid = %d after stop", s.PID())
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Errorf("second stop: %v", err)
	}
	if err := s.Restart(t.Context()); !errors.Is(err, errStopped) {
		t.Errorf("restart after stop: %v", err)
	}
}

func TestStopUsesForceWhenTheContextEnds(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if !refuses(s.Port()) {
		t.Error("port is still open")
	}
}

func TestRestartKeepsDataAndPort(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	query(t, s, `create table kept as select 'here' as it`)
	port, pid := s.Port(), s.PID()
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.Port() != port || s.PID() == pid {
		t.Errorf("port %d and pid %d became %d and %d", port, pid, s.Port(), s.PID())
	}
	if have := query(t, s, `select it from kept`); have != "here" {
		t.Errorf("kept = %q", have)
	}
}

func TestKilledServerStartsAgain(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	query(t, s, `create table kept as select 'here' as it`)
	// A busy backend does not notice immediately that its postmaster is dead.
	busy, err := pgx.Connect(t.Context(), s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := busy.Exec(context.Background(), `do $$ declare until timestamptz := clock_timestamp() + interval '1 second';
			begin while clock_timestamp() < until loop end loop; end $$`)
		ended <- errors.Join(err, busy.Close(context.Background()))
	}()
	for query(t, s, `select count(*)::text from pg_stat_activity where query like 'do $$%' and state = 'active'`) != "1" {
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if !refuses(s.Port()) {
		t.Error("killed server still listens")
	}
	if s.PID() != 0 {
		t.Errorf("pid = %d after kill", s.PID())
	}
	if err := s.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if have := query(t, s, `select it from kept`); have != "here" {
		t.Errorf("kept = %q", have)
	}
	<-ended
}

func TestGivenDirectoryOutlivesTheServer(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	first := start(t, Config{Dir: dir})
	query(t, first, `create table kept as select 'here' as it`)
	if err := first.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := start(t, Config{Dir: dir})
	if have := query(t, second, `select it from kept`); have != "here" {
		t.Errorf("kept = %q", have)
	}
}

func TestFailedStartShowsTheLog(t *testing.T) {
	t.Parallel()
	_, err := Start(t.Context(), Config{Params: map[string]string{"max_connections": "many"}})
	if err == nil || !strings.Contains(err.Error(), `invalid value for parameter "max_connections"`) {
		t.Errorf("error = %v, want the server's own words", err)
	}
}

func TestTakenPortIsReported(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	begun := time.Now()
	_, err = Start(t.Context(), Config{Port: listener.Addr().(*net.TCPAddr).Port})
	if err == nil || !strings.Contains(err.Error(), "Address already in use") {
		t.Errorf("error = %v, want the taken port", err)
	}
	if took := time.Since(begun); took > startTimeout/2 {
		t.Errorf("it took %s to say so", took)
	}
}

func TestClosedDirectoryIsNamed(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root runs postgres as somebody else")
	}
	closed := filepath.Join(openDir(t), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), Config{Dir: filepath.Join(closed, "server")})
	if err == nil || !strings.Contains(err.Error(), "may not enter "+closed) {
		t.Errorf("error = %v, want the closed directory", err)
	}
}

// openDir is a temporary directory that every account may enter. Those of package
// testing are closed to others.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pgserver-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestRootAndOthersAlike runs a server's whole life once more, as another user than root.
// If the tests do not run as root, the tests above cover that.
func TestRootAndOthersAlike(t *testing.T) {
	account, err := serverAccount()
	if err != nil {
		t.Fatal(err)
	}
	if account == nil {
		t.Skip("not root")
	}
	dir := openDir(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(self) // in a directory that root alone may enter
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "pgserver.test")
	if err := os.WriteFile(copied, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), copied, "-test.v",
		"-test.run=^(TestRestartKeepsDataAndPort|TestKilledServerStartsAgain|TestStopLeavesNeitherProcessNorDirectory)$")
	cmd.Dir = dir
	bin, err := BinDir(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), "PG_BINDIR="+bin)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: account.credential()}
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Count(string(out), "--- PASS") != 3 {
		t.Errorf("as %s: %v\n%s", account.name, err, out)
	}
}
