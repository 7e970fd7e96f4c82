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
	// mostHeld is how many pieces are held for one direction. When they are that
	// many the proxy stops reading, and the sender finds out that nobody does.
	mostHeld = 1024
)

// piece is what one read brought.
type piece struct {
	bytes   []byte
	err     error // how the stream ended; there are no bytes then
	arrived time.Time
}

// read queues what a side sends until its stream ends. It goes on while the
// link is down: the side is not to notice.
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

// pass carries what a side sends over to the other one until the stream ends;
// false means that it did not get there whole.
func (c *conn) pass(from Side, to *net.TCPConn) bool {
	for {
		select {
		case next := <-c.held[from]:
			if next.err != nil {
				return c.finish(from, to, next)
			}
			// A failed write does not end the connection: what the other side said
			// before it went away is still to arrive.
			if !c.write(from, to, next) {
				return false
			}
		case <-c.ended:
			return false
		}
	}
}

// await returns the link's state when that lets the piece pass, and nil when
// the connection has ended.
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

// write passes a piece on, in parts where a fault comes in between.
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

// writeUnder writes as long as the link's state is the one given.
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

// settle returns when no write goes on that began under an earlier state of the
// link. The deadline ends one that waits for its reader. The caller has the
// proxy's lock.
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
