package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// child is a peer's server in a process of its own, which is this program again:
// PostgreSQL has one, and sharing ours would charge a peer's garbage to all.
type child struct {
	address string
	cmd     *exec.Cmd
	input   io.WriteCloser // its end stops the child
	dir     string
}

// servers are what a child may be.
var servers = map[string]func(dir string) (address string, stop func(), err error){
	"etcd": serveEtcd,
	"nats": serveNATS,
}

// startChild starts a server and reads its address.
func startChild(ctx context.Context, name string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "bench-"+name+"-")
	if err != nil {
		return nil, err
	}
	c := &child{dir: dir, cmd: exec.CommandContext(ctx, self, "serve", name, dir)}
	c.cmd.Stderr = os.Stderr
	c.cmd.SysProcAttr = diesWithUs()
	if c.input, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	answer, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(answer).ReadString('\n')
	if err != nil {
		c.stop()
		return nil, fmt.Errorf("%s did not start: %w", name, err)
	}
	c.address = strings.TrimSpace(line)
	return c, nil
}

func (c *child) stop() {
	_ = c.input.Close()
	_ = c.cmd.Wait()
	_ = os.RemoveAll(c.dir)
}

// serve is the child's own life: it serves until its input ends.
func serve(name, dir string) error {
	start, ok := servers[name]
	if !ok {
		return fmt.Errorf("no server %q", name)
	}
	address, stop, err := start(dir)
	if err != nil {
		return err
	}
	fmt.Println(address)
	_, _ = io.Copy(io.Discard, os.Stdin)
	stop()
	return nil
}

// diesWithUs has a child end with this process, should it be killed.
func diesWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// freeAddress is one that was free a moment ago.
func freeAddress() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err) // no port is left on this machine
	}
	defer l.Close()
	return l.Addr().String()
}
