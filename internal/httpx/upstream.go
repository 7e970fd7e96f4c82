package httpx

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxIdleUpstream is how many idle connections to the upstream are kept.
	maxIdleUpstream = 256

	// upstreamIdle is how long a connection to the upstream may be silent in both
	// directions, while the upstream works on an answer or holds a websocket.
	upstreamIdle = 10 * time.Minute

	// lastWords is how long we wait for the answer of an upstream that has stopped
	// reading the request.
	lastWords = 5 * time.Second
)

func upstreamTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = nil // connect to the configured address, even if HTTP_PROXY is set
	t.MaxIdleConns, t.MaxIdleConnsPerHost = maxIdleUpstream, maxIdleUpstream
	t.DisableCompression = true // the caller and the upstream negotiate encodings themselves
	dial := t.DialContext
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return newUpstreamConn(c, upstreamIdle), nil
	}
	return t
}

// upstreamConn is a connection to the upstream with a limit on silence. It also lets
// an answer be read if the upstream has stopped reading the request, because many
// upstreams answer 401 or 413 early, and close.
type upstreamConn struct {
	net.Conn
	idle   time.Duration
	made   time.Time
	moved  atomic.Int64 // when bytes last moved, in nanoseconds since made
	ended  chan struct{}
	ending sync.Once
}

func newUpstreamConn(c net.Conn, idle time.Duration) *upstreamConn {
	return &upstreamConn{Conn: c, idle: idle, made: time.Now(), ended: make(chan struct{})}
}

func (c *upstreamConn) Read(p []byte) (int, error) {
	c.move() // silence counts only while somebody waits
	for {
		silent := c.silent()
		_ = c.Conn.SetReadDeadline(time.Now().Add(c.idle - silent))
		n, err := c.Conn.Read(p)
		switch {
		case n > 0:
			c.move()
		case errors.Is(err, os.ErrDeadlineExceeded) && c.silent() < c.idle:
			continue // bytes moved in the other direction
		case errors.Is(err, os.ErrDeadlineExceeded):
			err = fmt.Errorf("the upstream was silent for %v: %w", c.idle, err)
		}
		if err != nil {
			c.end()
		}
		return n, err
	}
}

// Write reports a failure only after everything that the upstream sent was read, or
// after lastWords, because [http.Transport] drops the answer when a write fails.
func (c *upstreamConn) Write(p []byte) (int, error) {
	_ = c.Conn.SetWriteDeadline(time.Now().Add(c.idle))
	n, err := c.Conn.Write(p)
	if n > 0 {
		c.move()
	}
	if err != nil {
		select {
		case <-c.ended:
		case <-time.After(lastWords):
		}
	}
	return n, err
}

func (c *upstreamConn) Close() error {
	err := c.Conn.Close()
	c.end()
	return err
}

func (c *upstreamConn) end() { c.ending.Do(func() { close(c.ended) }) }

func (c *upstreamConn) move() { c.moved.Store(int64(time.Since(c.made))) }

func (c *upstreamConn) silent() time.Duration {
	return time.Since(c.made) - time.Duration(c.moved.Load())
}
