package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	host = "127.0.0.1"

	// firstPort is the first pod's port, unless it is taken.
	firstPort = 8081

	// stopTimeout is how long a pod may take to stop: its drain, and some more.
	stopTimeout = 15 * time.Second
)

// pod is one running process of cmd/api.
type pod struct {
	name    string
	url     string
	log     string // the log file
	process *os.Process
	exited  chan struct{} // closed when the process has ended
	state   string        // how it ended; read it after exited
}

// startPods starts all pods at once, as a deployment does. If one cannot be started,
// it returns those that already run together with the error.
func startPods(binary, dir string, count int, databaseURL, token string) ([]*pod, error) {
	var pods []*pod
	port := firstPort
	for i := range count {
		var err error
		if port, err = freePort(port); err != nil {
			return pods, err
		}
		address := net.JoinHostPort(host, strconv.Itoa(port))
		name := "pod-" + strconv.Itoa(i+1)
		p := &pod{
			name:   name,
			url:    "http://" + address,
			log:    filepath.Join(dir, name+".log"),
			exited: make(chan struct{}),
		}
		// The caller's environment is not passed on, because it may contain our
		// variables.
		err = p.start(binary, []string{
			"DATABASE_URL=" + databaseURL,
			"LISTEN_ADDR=" + address,
			"POD_NAME=" + name,
			"ADMIN_TOKENS=dev:admin:" + token,
			"LOG_FORMAT=json",
			"LOG_LEVEL=info",
		})
		if err != nil {
			return pods, fmt.Errorf("start %s: %w", name, err)
		}
		pods = append(pods, p)
		port++
	}
	return pods, nil
}

// freePort returns the first free port from this one upwards.
func freePort(port int) (int, error) {
	for last := port + 1000; ; port++ {
		listener, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err == nil {
			return port, listener.Close()
		}
		if port == last {
			return 0, fmt.Errorf("find a free port: %w", err)
		}
	}
}

func (p *pod) start(binary string, environment []string) error {
	log, err := os.Create(p.log)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(binary, "serve")
	cmd.Env = environment
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = attributes()

	started := make(chan error, 1)
	go func() {
		// The kernel sends the parent-death signal when the thread that forked
		// ends, so that thread has to live as long as the pod.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // the state says it all
			p.state = cmd.ProcessState.String()
			close(p.exited)
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	p.process = cmd.Process
	return nil
}

// stopPods stops all pods at once.
func stopPods(hurried context.Context, pods []*pod) {
	var stopping sync.WaitGroup
	for _, p := range pods {
		stopping.Go(func() { p.stop(hurried) })
	}
	stopping.Wait()
}

// stop sends SIGTERM, and SIGKILL after stopTimeout or when hurried.
func (p *pod) stop(hurried context.Context) {
	_ = p.process.Signal(syscall.SIGTERM) // fails only when it has ended
	timeout := time.NewTimer(stopTimeout)
	defer timeout.Stop()
	select {
	case <-p.exited:
		return
	case <-timeout.C:
	case <-hurried.Done():
	}
	_ = p.process.Kill()
	<-p.exited
}

// logTail is the last lines of the pod's log.
func (p *pod) logTail() string {
	const most = 20
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-most):], []byte("\n")))
}
