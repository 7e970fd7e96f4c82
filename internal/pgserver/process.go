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

// process is one run of a program from the binaries' directory, with all its children.
type process struct {
	pid    int
	os     *os.Process
	logged int64         // the offset in the log at which this run began
	exited chan struct{} // closed when the program itself has ended
	gone   chan struct{} // closed when its children have ended as well
	err    error         // how the program ended; valid after exited is closed
}

// launch starts a program as the server's account. Its output goes to the log.
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
	// The program and its children inherit the pipe's write end, and never use it. So the
	// read end reaches EOF when the last of them is gone. Nothing else shows when backends
	// are gone that outlive a killed postmaster.
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
		// The kernel sends the parent-death signal when the thread that forked ends, so
		// that thread has to live as long as the program (prctl(2), PR_SET_PDEATHSIG).
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

// end sends a signal, and waits until the program and its children are gone. It is false
// if the context ended first.
func (p *process) end(ctx context.Context, signal os.Signal) bool {
	_ = p.os.Signal(signal) // fails only if the program has already ended
	select {
	case <-p.gone:
		<-p.exited
		return true
	case <-ctx.Done():
		return false
	}
}

// killGroup kills the program and the children in its process group. A postmaster's
// children are not in it, because each backend has its own session.
func (p *process) killGroup() { _ = syscall.Kill(-p.pid, syscall.SIGKILL) }

// environment is the caller's, without the variables that configure PostgreSQL, and with
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
