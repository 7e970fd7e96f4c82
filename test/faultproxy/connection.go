package faultproxy

import (
	"errors"
	"net"
	"sync"
	"time"
)

// dialTimeout is how long the upstream may take to accept.
const dialTimeout = 5 * time.Second

// conn is a client's connection together with its connection to the upstream. For
// each direction, one goroutine reads into a queue and one writes from it.
type conn struct {
	proxy  *Proxy
	number int
	held   [2]chan piece // by the side that sent them

	// writing is by the side that sent the bytes. It is locked from the last check of
	// the link's state until they are written.
	writing [2]sync.Mutex

	clientGone chan struct{} // closed when the client's stream has ended
	ended      chan struct{}

	// Guarded by the proxy's lock:
	over bool
	ends [2]*net.TCPConn // the server's is nil until dialled
}

func newConn(p *Proxy, number int, client *net.TCPConn) *conn {
	return &conn{
		proxy:      p,
		number:     number,
		held:       [2]chan piece{make(chan piece, mostHeld), make(chan piece, mostHeld)},
		clientGone: make(chan struct{}),
		ended:      make(chan struct{}),
		ends:       [2]*net.TCPConn{client, nil},
	}
}

// serve is the life of the connection.
func (c *conn) serve() {
	c.proxy.mu.Lock()
	hooks, client := c.proxy.onAccept, c.ends[Client]
	c.proxy.mu.Unlock()
	for _, hook := range hooks {
		hook(c.number)
	}

	var readers sync.WaitGroup
	defer readers.Wait()
	readers.Go(func() {
		defer close(c.clientGone)
		c.read(Client, client)
	})
	server, err := c.dial()
	if errors.Is(err, errGone) {
		c.end(true)
		return
	}
	if err != nil { // the server's refusal is delayed and stalled like its bytes
		c.finish(Server, client, piece{err: err, arrived: time.Now()})
		return
	}
	readers.Go(func() { c.read(Server, server) })

	var whole [2]bool
	var writers sync.WaitGroup
	writers.Go(func() { whole[Client] = c.pass(Client, server) })
	writers.Go(func() { whole[Server] = c.pass(Server, client) })
	writers.Wait()
	c.end(!whole[Client] || !whole[Server])
}

var errGone = errors.New("nobody waits for the connection")

// dial connects to the upstream as soon as the link lets bytes from the client pass.
func (c *conn) dial() (*net.TCPConn, error) {
	for link := c.proxy.link.Load(); link.holds(c.number, Client); link = c.proxy.link.Load() {
		select {
		case <-link.superseded:
		case <-c.clientGone:
			return nil, errGone
		case <-c.ended:
			return nil, errGone
		}
	}
	select {
	case <-c.ended: // cut by a hook: the upstream must not notice
		return nil, errGone
	default:
	}
	dialled, err := net.DialTimeout("tcp", c.proxy.upstream, dialTimeout)
	if err != nil {
		return nil, err
	}
	server := dialled.(*net.TCPConn)
	c.proxy.mu.Lock()
	defer c.proxy.mu.Unlock()
	if c.over { // cut meanwhile
		reset(server)
		return nil, errGone
	}
	c.ends[Server] = server
	return server, nil
}

// end closes both sides, once: with an RST, or gracefully, so that bytes already
// written still arrive.
func (c *conn) end(hard bool) {
	c.proxy.mu.Lock()
	defer c.proxy.mu.Unlock()
	c.close(hard)
}

// close is end for a caller that holds the proxy's lock.
func (c *conn) close(hard bool) {
	if c.over {
		return
	}
	c.over = true
	delete(c.proxy.conns, c.number)
	close(c.ended)
	for _, side := range c.ends {
		switch {
		case side == nil:
		case hard:
			reset(side)
		default:
			side.Close()
		}
	}
}

// reset closes a connection with an RST in place of a FIN.
func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0) // fails on a closed connection only
	conn.Close()
}
