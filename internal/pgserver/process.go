package pgserver

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// process is one run of a program from the binaries' directory, together with
// whatever it forks.
type process struct {
	pid    int
	os     *os.Process
	logged int64         // where the log began to be this run's
	exited chan struct{} // closed when the program itself is reaped
	gone   chan struct{} // closed when its children have ended as well
	err    error         // how the program ended; read it after exited
}

// launch starts a program as the server's account, its output in the log.
func (s *Server) launch(program string, args []string) (*process, error) {
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	info, err := log.Stat()
	if err != nil {
		return nil, err
	}
	// The program and all it forks inherit the write end and never use it: the
	// read end meets the end of the file when the last of them is gone. Backends
	// outlive a killed postmaster, and nothing else tells us about them.
	alive, inherited, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer inherited.Close()

	cmd := exec.Command(filepath.Join(s.bin, program), args...)
	cmd.Dir = s.dir // the caller's directory may be closed to the account
	cmd.Env = environment()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{inherited}
	cmd.SysProcAttr = attributes(s.account.credential())

	p := &process{logged: info.Size(), exited: make(chan struct{}), gone: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The kernel sends the parent-death signal when the thread that forked
		// ends, so that thread has to live as long as the program.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.exited)
		}
	}()
	if err := <-started; err != nil {
		alive.Close()
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	p.os, p.pid = cmd.Process, cmd.Process.Pid
	go func() {
		defer close(p.gone)
		defer alive.Close()
		_, _ = io.Copy(io.Discard, alive)
	}()
	return p, nil
}

// end sends a signal and waits until nothing of the process is left; false
// means that the context ended before.
func (p *process) end(ctx context.Context, signal os.Signal) bool {
	_ = p.os.Signal(signal) // fails only when the program has ended already
	select {
	case <-p.gone:
		<-p.exited
		return true
	case <-ctx.Done():
		return false
	}
}

// killGroup ends the program and the children that stayed in its group. A
// postmaster's do not: each backend has a session of its own.
func (p *process) killGroup() { _ = syscall.Kill(-p.pid, syscall.SIGKILL) }

// environment is the caller's without what would steer PostgreSQL, and with
// messages in English.
func environment() []string {
	env := []string{"LC_ALL=C"}
	for _, entry := range os.Environ() {
		if strings.HasPrefix(entry, "PG") || strings.HasPrefix(entry, "LC_") || strings.HasPrefix(entry, "LANG") {
			continue
		}
		env = append(env, entry)
	}
	return env
}
