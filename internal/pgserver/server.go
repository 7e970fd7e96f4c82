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

// startTimeout bounds a start whose context has no earlier deadline. It does not include
// the download of binaries.
const startTimeout = 60 * time.Second

const host = "127.0.0.1"

// Config describes a server. The zero value is a server in a temporary directory, which
// is fast because it does not fsync.
type Config struct {
	// Dir holds data, log and socket. Empty means a new temporary directory,
	// which Stop removes. A directory that already holds data is used as it is.
	Dir string
	// Params are server parameters, which add to the defaults or replace them. Those that
	// say where the server listens are ignored.
	Params map[string]string
	// Fsync makes commits survive a crash of the machine, and makes them slower. Without
	// it they survive a killed server, which is enough for tests.
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

	mu      sync.Mutex // held during a start or a stop
	stopped bool
	process atomic.Pointer[process] // nil if no process of the server can be running
}

// Start makes a server, and returns when it answers queries. The context bounds the
// start, at most a minute, but not the life of the server. The caller stops it. The error
// shows the end of the server's log.
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

// create makes the directory, and the cluster in it unless there is one.
func (s *Server) create(ctx context.Context) error {
	if err := s.makeDir(); err != nil {
		return fmt.Errorf("make server directory: %w", err)
	}
	// The path of a socket is limited to 107 bytes (103 on macOS), including its name. If
	// the directory's path is too long, there is only TCP.
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

// initdb makes the cluster in a directory of another name and renames that at the end, so
// that an interrupted run is never taken for a cluster.
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

// remove deletes the directory if Start made it.
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

// Port is the TCP port. Restarts do not change it.
func (s *Server) Port() int { return s.port }

// SocketDir is the directory of the Unix socket. It is empty if the path of the server's
// directory is too long for one. The socket asks for a password; no role has one at
// first.
func (s *Server) SocketDir() string { return s.socketDir }

// BinDir is the directory of the server's binaries.
func (s *Server) BinDir() string { return s.bin }

// PID is the postmaster's process id, or 0 while the server is down.
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

// LogTail is the end of the server's log, at most 8 KiB. It is empty if there is no log.
func (s *Server) LogTail() string { return s.logFrom(0) }

// logFrom is the end of the log, at most 8 KiB, and nothing from before the offset.
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
	if start > from { // drops the incomplete first line
		_, after, _ := strings.Cut(string(text), "\n")
		return after
	}
	return string(text)
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) log() string { return filepath.Join(s.dir, "postgres.log") }
