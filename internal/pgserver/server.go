// Package pgserver runs a throwaway PostgreSQL server as a child process, for
// tests and for the development command. The product never links it.
//
// The server listens on 127.0.0.1 only, where every role may log in without a
// password; its Unix socket asks for one. On Linux it dies with the process
// that started it. Unix only.
package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// startTimeout bounds a start whose context has no earlier deadline. Fetching
// binaries is not part of it.
const startTimeout = 60 * time.Second

const host = "127.0.0.1"

// Config says what server to start; its zero value is a fast, unsafe one in a
// temporary directory.
type Config struct {
	// Dir holds data, log and socket. Empty means a new temporary directory,
	// which Stop removes. A directory that already holds data is used as it is.
	Dir string
	// Params are server parameters that replace or add to the defaults, except
	// those that say where the server listens.
	Params map[string]string
	// Fsync makes commits survive a killed machine, at a price. Without it they
	// survive a killed server, which is all that a test can kill.
	Fsync bool
	// Port to listen on; zero means a free one.
	Port int
}

// Server is a running PostgreSQL. Its methods may be called from any goroutine.
type Server struct {
	config    Config
	bin       string
	dir       string
	socketDir string
	account   *account
	port      int

	mu      sync.Mutex // one change of state at a time
	stopped bool
	process atomic.Pointer[process] // nil unless something of the server may run
}

// Start makes a server and returns when it answers queries. The context bounds
// the start, not the life of the server.
func Start(ctx context.Context, config Config) (*Server, error) {
	bin, err := BinDir(ctx)
	if err != nil {
		return nil, fmt.Errorf("find postgres binaries: %w", err)
	}
	ctx, cancel := withStartTimeout(ctx)
	defer cancel()
	account, err := serverAccount()
	if err != nil {
		return nil, err
	}
	config.Params = maps.Clone(config.Params)
	s := &Server{config: config, bin: bin, account: account, port: config.Port}
	if err := s.create(ctx); err != nil {
		return nil, errors.Join(err, s.remove())
	}
	if err := s.up(ctx, true); err != nil {
		return nil, errors.Join(err, s.remove())
	}
	return s, nil
}

func withStartTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, startTimeout,
		fmt.Errorf("postgres did not answer within %s", startTimeout))
}

// create makes the directory and, unless there is one, the cluster in it.
func (s *Server) create(ctx context.Context) error {
	if err := s.makeDir(); err != nil {
		return fmt.Errorf("make server directory: %w", err)
	}
	// A socket's path is limited to 107 bytes (103 on macOS), its name included.
	// TCP is enough when the directory is too deep.
	if dir := filepath.Join(s.dir, "socket"); len(dir)+len("/.s.PGSQL.65535") <= 103 {
		if err := s.account.mkdir(dir); err != nil {
			return fmt.Errorf("make socket directory: %w", err)
		}
		s.socketDir = dir
	}
	if _, err := os.Stat(filepath.Join(s.data(), "PG_VERSION")); err == nil {
		return nil
	}
	if err := s.initdb(ctx); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, s.LogTail())
	}
	return nil
}

func (s *Server) makeDir() error {
	if s.config.Dir == "" {
		base, err := s.account.tempBase()
		if err != nil {
			return err
		}
		if s.dir, err = os.MkdirTemp(base, "pgserver-"); err != nil {
			return err
		}
		return s.account.own(s.dir)
	}
	dir, err := filepath.Abs(s.config.Dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	s.dir = dir
	return s.account.enters(dir)
}

// initdb works beside the data directory and renames at the end, so that an
// interrupted run is never taken for a cluster.
func (s *Server) initdb(ctx context.Context) error {
	unfinished := s.data() + ".unfinished"
	if err := os.RemoveAll(unfinished); err != nil {
		return err
	}
	if err := s.account.mkdir(unfinished); err != nil {
		return err
	}
	args := []string{
		"--pgdata=" + unfinished, "--username=postgres",
		"--encoding=UTF8", "--locale=C",
		"--auth-host=trust", "--auth-local=scram-sha-256",
		"--no-instructions",
	}
	if !s.config.Fsync {
		args = append(args, "--no-sync")
	}
	p, err := s.launch("initdb", args)
	if err != nil {
		return err
	}
	select {
	case <-p.exited:
	case <-ctx.Done():
		p.killGroup()
		<-p.exited
		return context.Cause(ctx)
	}
	if p.err != nil {
		return p.err
	}
	return os.Rename(unfinished, s.data())
}

// remove deletes the directory if the server made it.
func (s *Server) remove() error {
	if s.config.Dir != "" || s.dir == "" {
		return nil
	}
	if err := os.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("remove server directory: %w", err)
	}
	return nil
}

// URL is the address of a database for the superuser, without TLS or password.
func (s *Server) URL(database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.User("postgres"),
		Host:     net.JoinHostPort(host, strconv.Itoa(s.port)),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Host is the address that the server listens on.
func (s *Server) Host() string { return host }

// Port stays the same for the life of the server, restarts included.
func (s *Server) Port() int { return s.port }

// SocketDir holds the Unix socket; empty when the server's directory has too
// long a name for one. The socket asks for a password, which no role has yet.
func (s *Server) SocketDir() string { return s.socketDir }

// BinDir holds the binaries that the server runs from.
func (s *Server) BinDir() string { return s.bin }

// PID is the postmaster's, and 0 while the server is down.
func (s *Server) PID() int {
	p := s.process.Load()
	if p == nil {
		return 0
	}
	select {
	case <-p.exited:
		return 0
	default:
		return p.pid
	}
}

// LogTail is the end of the server's log, at most a few screens; empty when
// there is none.
func (s *Server) LogTail() string { return s.logFrom(0) }

// logFrom is the last 8 KiB of the log, but nothing before the offset.
func (s *Server) logFrom(from int64) string {
	const most = 8 << 10
	file, err := os.Open(s.log())
	if err != nil {
		return ""
	}
	defer file.Close()
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return ""
	}
	start := max(from, size-most)
	text, err := io.ReadAll(io.NewSectionReader(file, start, size-start))
	if err != nil {
		return ""
	}
	if start > from { // drop the line that was cut
		_, after, _ := strings.Cut(string(text), "\n")
		return after
	}
	return string(text)
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) log() string { return filepath.Join(s.dir, "postgres.log") }
