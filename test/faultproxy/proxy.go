// Package faultproxy is a TCP proxy that fails on demand, to test the client and the
// server on its two sides. The product never links it.
//
// A proxy starts healthy. Its faults apply to existing and to new connections, until
// Heal:
//
//	Cut        resets existing connections
//	Refuse     refuses new connections
//	Stall      goes dark: no byte, no FIN and no RST passes, in either direction;
//	           of the whole link, or of some connections
//	StallFrom  the same for what one side sends
//	Delay      everything arrives later
//
// During Stall and Delay, the proxy goes on reading and keeps what it has read, so
// nothing is lost or reordered when the link heals.
package faultproxy

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Side is one of the two sides of the proxy.
type Side int

const (
	// Client is the side that connects to the proxy.
	Client Side = iota
	// Server is the upstream.
	Server
)

func (s Side) String() string { return [...]string{"client", "server"}[s] }

func (s Side) other() Side { return 1 - s }

var sides = [...]Side{Client, Server}

// Proxy forwards connections to one upstream. Its methods may be called from
// any goroutine, and all except Close also from hooks.
type Proxy struct {
	upstream string
	address  string
	link     atomic.Pointer[link]
	running  sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	listener *net.TCPListener // nil while the proxy refuses
	conns    map[int]*conn
	accepted []time.Time
	onAccept []func(conn int)
	onBytes  []func(conn int, from Side, b []byte)
}

// Start listens on a free port of 127.0.0.1 for connections to the upstream,
// which is a TCP address. The upstream need not be up: the proxy dials it once for
// each connection, and resets the connection if that fails.
func Start(upstream string) (*Proxy, error) {
	p := &Proxy{upstream: upstream, conns: map[int]*conn{}}
	p.link.Store(&link{superseded: make(chan struct{})})
	var err error
	// The port has to be still free after Refuse. Servers take ports below this range,
	// pods above it, and systems take the local ports of connections from far above.
	for range 50 {
		p.address = net.JoinHostPort("127.0.0.1", strconv.Itoa(15000+rand.N(5000)))
		if err = p.listen(); err == nil {
			return p, nil
		}
	}
	return nil, fmt.Errorf("start fault proxy: %w", err)
}

// Addr is the address that clients connect to. It never changes.
func (p *Proxy) Addr() string { return p.address }

// Accepted is when each connection was accepted, oldest first. Connection 1 is the
// first. Refused attempts are not among them, because the kernel refuses them. A
// test that wants to count failing attempts accepts and cuts them, with Cut in
// OnAccept.
func (p *Proxy) Accepted() []time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.accepted)
}

// Standing returns the numbers of the connections that have not ended, oldest first.
func (p *Proxy) Standing() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Sorted(maps.Keys(p.conns))
}

// Close resets all connections, stops listening, and returns when no hook runs any
// more.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.Refuse()
	p.Cut()
	p.running.Wait()
}

// listen accepts connections, unless the proxy does so already.
func (p *Proxy) listen() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errors.New("proxy is closed")
	}
	if p.listener != nil {
		return nil
	}
	listening, err := net.Listen("tcp", p.address)
	if err != nil {
		return err
	}
	listener := listening.(*net.TCPListener)
	p.listener = listener
	p.running.Go(func() { p.accept(listener) })
	return nil
}

func (p *Proxy) accept(listener *net.TCPListener) {
	for {
		client, err := listener.AcceptTCP()
		if err != nil {
			return // refused or closed
		}
		p.mu.Lock()
		if p.listener != listener { // refused a moment ago
			p.mu.Unlock()
			reset(client)
			continue
		}
		p.accepted = append(p.accepted, time.Now())
		c := newConn(p, len(p.accepted), client)
		p.conns[c.number] = c
		p.running.Go(c.serve)
		p.mu.Unlock()
	}
}
