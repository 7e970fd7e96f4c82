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
	"time"
)

// child is this program again, as a process of its own. The servers of other systems
// run in one, as PostgreSQL does. In our own process their garbage collection would
// slow down all systems.
type child struct {
	address string // the first line that it prints
	cmd     *exec.Cmd
	input   io.WriteCloser // closing it stops the child
	output  *os.File
	lines   *bufio.Reader
	dir     string
}

// servers are what a child may be.
var servers = map[string]func(dir string) (address string, stop func(), err error){
	"etcd": serveEtcd,
	"nats": serveNATS,
}

// talkers are children that read orders and answer, line by line. They end when their
// input does.
var talkers = map[string]func(orders *bufio.Scanner, answers io.Writer) error{
	"leader":    lead,
	"followers": follow,
}

// startChild starts a server or a talker, and reads its address.
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
	reads, writes, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c.cmd.Stdout, c.output, c.lines = writes, reads, bufio.NewReader(reads)
	err = c.cmd.Start()
	_ = writes.Close()
	if err != nil {
		_ = reads.Close()
		return nil, err
	}
	if c.address, err = c.hear(); err != nil {
		c.stop()
		return nil, fmt.Errorf("%s did not start: %w", name, err)
	}
	return c, nil
}

// hear returns the child's next line.
func (c *child) hear() (string, error) {
	if err := c.output.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	line, err := c.lines.ReadString('\n')
	return strings.TrimSpace(line), err
}

// order sends a talker an order.
func (c *child) order(line string) error {
	_, err := io.WriteString(c.input, line+"\n")
	return err
}

func (c *child) stop() {
	_ = c.input.Close()
	_ = c.cmd.Wait()
	_ = c.output.Close()
	_ = os.RemoveAll(c.dir)
}

// serve runs in the child: it serves until its input ends.
func serve(name, dir string) error {
	if talk, ok := talkers[name]; ok {
		return talk(bufio.NewScanner(os.Stdin), os.Stdout)
	}
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

// diesWithUs makes a child end even if this process is killed.
func diesWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// freeAddress is an address that was free a moment ago.
func freeAddress() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err) // this machine has no free port
	}
	defer l.Close()
	return l.Addr().String()
}
