package pgserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// stopTimeout bounds a fast shutdown whose context has no earlier deadline.
	stopTimeout = 30 * time.Second
	// quitTimeout is for an immediate shutdown. In it, the postmaster itself kills
	// children that have not ended after five seconds.
	quitTimeout = 10 * time.Second
	// goneTimeout is for backends to notice that their postmaster is dead.
	goneTimeout = 10 * time.Second
	// dialTimeout bounds one attempt to reach a starting server.
	dialTimeout = 2 * time.Second
	// pollInterval is the time between two such attempts.
	pollInterval = 10 * time.Millisecond
)

// errStopped is returned for a server that has been stopped for good.
var errStopped = errors.New("server is stopped")

// Stop makes a fast shutdown. If the context ends first, it stops the server by force.
// It removes the directory if Start made it. A second call does nothing.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil
	}
	if err := s.down(ctx); err != nil {
		return fmt.Errorf("stop postgres: %w", err)
	}
	s.stopped = true
	return s.remove()
}

// Kill ends the postmaster with SIGKILL and returns when it is dead; its
// backends follow by themselves a moment later. StartAgain brings it back.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.process.Load()
	if p == nil {
		return nil
	}
	if err := p.os.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill postgres: %w", err)
	}
	<-p.exited
	return nil
}

// Restart is a fast shutdown and a start with the same data on the same port.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return fmt.Errorf("restart postgres: %w", errStopped)
	}
	if err := s.down(ctx); err != nil {
		return fmt.Errorf("restart postgres: %w", err)
	}
	if err := s.up(ctx, false); err != nil {
		return fmt.Errorf("restart postgres: %w", err)
	}
	return nil
}

// StartAgain starts a server that was killed, with the same data on the same
// port. It is an error if the server still runs.
func (s *Server) StartAgain(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return fmt.Errorf("start postgres again: %w", errStopped)
	}
	if p := s.process.Load(); p != nil {
		select {
		case <-p.exited:
		default:
			return errors.New("start postgres again: it is running")
		}
		if err := s.down(ctx); err != nil {
			return fmt.Errorf("start postgres again: %w", err)
		}
	}
	if err := s.up(ctx, false); err != nil {
		return fmt.Errorf("start postgres again: %w", err)
	}
	return nil
}

// up launches the postmaster and waits until it answers. If it fails for a reason that
// will pass, up tries again until ctx ends.
func (s *Server) up(ctx context.Context, first bool) error {
	ctx, cancel := withStartTimeout(ctx)
	defer cancel()
	for {
		if first && s.config.Port == 0 {
			port, err := freePort()
			if err != nil {
				return err
			}
			s.port = port
		}
		p, err := s.launch("postgres", s.arguments())
		if err != nil {
			return err
		}
		s.process.Store(p)
		err = s.ready(ctx, p)
		if err == nil {
			return nil
		}
		log := s.logFrom(p.logged)
		err = fmt.Errorf("%w\n%s", err, log)
		if forceErr := s.force(); forceErr != nil {
			return errors.Join(err, forceErr)
		}
		// Backends of a killed postmaster keep its shared memory for a moment. A taken port
		// is a final failure only on the first start, and if the caller chose the port.
		passes := strings.Contains(log, "shared memory block") ||
			strings.Contains(log, "Address already in use") && (!first || s.config.Port == 0)
		if !passes || !pause(ctx) {
			return err
		}
	}
}

// pause waits for one poll interval; false means that the context has ended.
func pause(ctx context.Context) bool {
	timer := time.NewTimer(pollInterval)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// ready returns when this very server answers a query, or when it cannot.
func (s *Server) ready(ctx context.Context, p *process) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { // an attempt may hang if another program has the port
		select {
		case <-p.exited:
			cancel(fmt.Errorf("it ended while starting: %w", cmp.Or(p.err, errors.New("exit status 0"))))
		case <-ctx.Done():
		}
	}()
	for {
		err := s.answers(ctx)
		if err == nil {
			return nil
		}
		if !pause(ctx) {
			return fmt.Errorf("wait for postgres: %w (last attempt: %w)", context.Cause(ctx), err)
		}
	}
}

// answers checks that this server answers on the port, because another one may have
// taken it in between.
func (s *Server) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, dialTimeout, errors.New("connect: no answer from postgres"))
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var dir string
	if err := conn.QueryRow(ctx, `select current_setting('data_directory')`).Scan(&dir); err != nil {
		return err
	}
	if dir != s.data() {
		return fmt.Errorf("port %d belongs to another server, in %s", s.port, dir)
	}
	return nil
}

// down asks the postmaster to end, and waits for its backends too. When the context
// ends, it uses force.
func (s *Server) down(ctx context.Context) error {
	p := s.process.Load()
	if p == nil {
		return nil
	}
	fast, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	if !p.end(fast, syscall.SIGINT) {
		return s.force()
	}
	s.process.Store(nil)
	return nil
}

// force ends the postmaster by an immediate shutdown or SIGKILL. It has its own timeouts,
// because it runs after the caller's context has ended.
func (s *Server) force() error {
	p := s.process.Load()
	quit, cancel := context.WithTimeout(context.Background(), quitTimeout)
	defer cancel()
	if !p.end(quit, syscall.SIGQUIT) {
		kill, cancel := context.WithTimeout(context.Background(), goneTimeout)
		defer cancel()
		if !p.end(kill, syscall.SIGKILL) {
			return fmt.Errorf("processes of postmaster %d remain", p.pid)
		}
	}
	s.process.Store(nil)
	return nil
}

// arguments are the postmaster's. The caller cannot choose where it listens.
func (s *Server) arguments() []string {
	params := map[string]string{
		"max_connections": "300",
		"shared_buffers":  "64MB",
		"wal_level":       "logical",
	}
	if !s.config.Fsync {
		// synchronous_commit stays on, so commits reach the operating system before they
		// are acknowledged. Without fsync that costs next to nothing, and a killed server
		// loses no commit, just as in production.
		params["fsync"] = "off"
		params["full_page_writes"] = "off"
	}
	maps.Copy(params, s.config.Params)
	params["listen_addresses"] = host
	params["port"] = strconv.Itoa(s.port)
	params["unix_socket_directories"] = ""
	if s.socketDir != "" { // a list, in which quotes protect commas and blanks
		params["unix_socket_directories"] = `"` + strings.ReplaceAll(s.socketDir, `"`, `""`) + `"`
	}
	args := []string{"-D", s.data()}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		args = append(args, "-c", name+"="+params[name])
	}
	return args
}

// freePort finds a port that is free now. It is below the range that systems use for
// outgoing connections, so that it is still free when a killed server comes back.
func freePort() (int, error) {
	var err error
	for range 50 {
		port := 10000 + rand.N(5000) // ports above are for tests' proxies and pods
		var listener net.Listener
		if listener, err = net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port))); err == nil {
			return port, listener.Close()
		}
	}
	return 0, fmt.Errorf("find a free port: %w", err)
}
