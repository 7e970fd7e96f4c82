package httpx

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// listener accepts the connections of one line, each as a [connection], and limits
// how many are open at a time.
type listener struct {
	net.Listener
	slots    chan struct{} // nil: no limit
	open     *atomic.Int64
	draining <-chan struct{}

	closing sync.Once
	closed  chan struct{}
}

// newListener takes over l. most is the limit, 0 for none. It counts the open
// connections in open.
func newListener(l net.Listener, most int, open *atomic.Int64, draining <-chan struct{}) *listener {
	limited := &listener{Listener: l, open: open, draining: draining, closed: make(chan struct{})}
	if most > 0 {
		limited.slots = make(chan struct{}, most)
	}
	return limited
}

// Accept waits until there is room for a connection, and then for the connection.
func (l *listener) Accept() (net.Conn, error) {
	if l.slots != nil {
		select {
		case l.slots <- struct{}{}:
		case <-l.closed:
			return nil, net.ErrClosed
		}
	}
	c, err := l.Listener.Accept()
	if err != nil {
		l.leave()
		return nil, err
	}
	l.open.Add(1)
	return &connection{Conn: c, listener: l}, nil
}

func (l *listener) Close() error {
	l.closing.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

func (l *listener) leave() {
	if l.slots != nil {
		<-l.slots
	}
}

// connection is a caller's connection, below TLS.
type connection struct {
	net.Conn
	listener *listener
	lingers  atomic.Bool // see [lingerAfter]
	closing  atomic.Bool
	left     sync.Once
}

// mostLinger is how long a refused caller may go on sending.
const mostLinger = 30 * time.Second

// Close closes the connection. If the request's body was not read to its end, it
// first lingers (RFC 9112, 9.6). A second call does not wait for that.
func (c *connection) Close() error {
	if !c.closing.Swap(true) && c.lingers.Load() {
		c.linger()
	}
	err := c.Conn.Close()
	c.left.Do(func() {
		c.listener.open.Add(-1)
		c.listener.leave()
	})
	return err
}

// linger tells the caller that nothing more will be sent, and reads on. It stops if
// the caller closes or falls behind the pace, after mostLinger, and when the drain
// begins.
func (c *connection) linger() {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	p, end := lingering, time.Now().Add(mostLinger)
	buffer := make([]byte, 8<<10)
	for time.Now().Before(end) && p.left() > 0 {
		select {
		case <-c.listener.draining:
			return
		default:
		}
		began := time.Now()
		_ = c.Conn.SetReadDeadline(began.Add(p.left()))
		n, err := c.Conn.Read(buffer)
		if err != nil {
			return
		}
		p.took(time.Since(began), n)
	}
}

// connectionOf stores a server's [connection] in the context of its requests.
func connectionOf(ctx context.Context, c net.Conn) context.Context {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	return context.WithValue(ctx, connectionKey{}, c)
}
