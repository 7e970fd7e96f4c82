package faultproxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"time"
)

const (
	// readSize is the most that is read, and passed on, at once.
	readSize = 32 << 10
	// mostHeld is the most pieces that are held for one direction. Then the proxy
	// stops reading, and the sender notices.
	mostHeld = 1024
)

// piece is what one read brought.
type piece struct {
	bytes   []byte
	err     error // how the stream ended; there are no bytes then
	arrived time.Time
}

// read queues what a side sends until its stream ends. It goes on while the link is
// down, so that the side does not notice.
func (c *conn) read(from Side, source net.Conn) {
	buffer := make([]byte, readSize)
	for {
		n, err := source.Read(buffer)
		if n > 0 && !c.hold(from, piece{bytes: bytes.Clone(buffer[:n]), arrived: time.Now()}) {
			return
		}
		if err != nil {
			c.hold(from, piece{err: err, arrived: time.Now()})
			return
		}
	}
}

// hold puts a piece at the end of the queue; false means that the connection
// has ended.
func (c *conn) hold(from Side, next piece) bool {
	select {
	case c.held[from] <- next:
		return true
	case <-c.ended:
		return false
	}
}

// pass writes what a side sends to the other side until the stream ends. It returns
// false if not everything arrived.
func (c *conn) pass(from Side, to *net.TCPConn) bool {
	for {
		select {
		case next := <-c.held[from]:
			if next.err != nil {
				return c.finish(from, to, next)
			}
			// A failed write does not end the connection, because what the other side
			// sent before it went away still has to arrive.
			if !c.write(from, to, next) {
				return false
			}
		case <-c.ended:
			return false
		}
	}
}

// await waits until the link lets the piece pass, and returns the link's state. It
// returns nil if the connection has ended.
func (c *conn) await(from Side, next piece) *link {
	for {
		link := c.proxy.link.Load()
		var due <-chan time.Time
		if !link.holds(c.number, from) {
			wait := time.Until(next.arrived.Add(link.delay))
			if wait <= 0 {
				return link
			}
			due = time.After(wait)
		}
		select {
		case <-due:
		case <-link.superseded:
		case <-c.ended:
			return nil
		}
	}
}

// write passes a piece on, in parts if a fault comes in between.
func (c *conn) write(from Side, to *net.TCPConn, next piece) bool {
	if c.await(from, next) == nil {
		return false
	}
	c.proxy.mu.Lock()
	hooks := c.proxy.onBytes
	c.proxy.mu.Unlock()
	for _, hook := range hooks {
		hook(c.number, from, next.bytes)
	}
	for rest := next.bytes; len(rest) > 0; {
		link := c.await(from, next)
		if link == nil {
			return false
		}
		n, err := c.writeUnder(link, from, to, rest)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return false
		}
		rest = rest[n:]
	}
	return true
}

// writeUnder writes as long as the link is in this state.
func (c *conn) writeUnder(state *link, from Side, to net.Conn, b []byte) (int, error) {
	c.writing[from].Lock()
	defer c.writing[from].Unlock()
	if c.proxy.link.Load() != state {
		return 0, nil
	}
	return to.Write(b)
}

// finish tells the other side how the stream ended.
func (c *conn) finish(from Side, to *net.TCPConn, last piece) bool {
	for {
		link := c.await(from, last)
		if link == nil {
			return false
		}
		c.proxy.mu.Lock()
		if c.proxy.link.Load() != link { // a fault has come in between
			c.proxy.mu.Unlock()
			continue
		}
		defer c.proxy.mu.Unlock()
		if errors.Is(last.err, io.EOF) {
			return to.CloseWrite() == nil
		}
		c.close(true)
		return false
	}
}

// settle waits for the writes that began under an earlier state of the link. A
// deadline ends those that wait for their reader. The caller holds the proxy's
// lock.
func (c *conn) settle() {
	for _, from := range sides {
		to := c.ends[from.other()]
		if to == nil {
			continue
		}
		_ = to.SetWriteDeadline(time.Unix(1, 0)) // fails on a closed connection only
		c.writing[from].Lock()
		_ = to.SetWriteDeadline(time.Time{})
		c.writing[from].Unlock()
	}
}
