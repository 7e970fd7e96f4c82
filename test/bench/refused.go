package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// bodies are requests to a closed gate. The first is the floor.
var bodies = []struct {
	what, request string
	late, trickle bool // the body never comes, or comes a byte at a time
}{
	{"GET", "GET / HTTP/1.1\r\nHost: bench\r\n\r\n", false, false},
	{"POST, with its body", "POST / HTTP/1.1\r\nHost: bench\r\nContent-Length: 5\r\n\r\nhello", false, false},
	{"POST, Content-Length and no body", lateBody, true, false},
	{"POST, chunked and no body", "POST / HTTP/1.1\r\nHost: bench\r\nTransfer-Encoding: chunked\r\n\r\n", true, false},
	{"POST, a byte each 2 ms", lateBody, true, true},
}

const lateBody = "POST / HTTP/1.1\r\nHost: bench\r\nContent-Length: 1000000\r\n\r\n"

// firstByte is how long a refusal takes, from before the request is sent on an open
// connection.
func firstByte(ctx context.Context, address, request string, trickle bool) (time.Duration, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return 0, err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	began := time.Now()
	if _, err := io.WriteString(conn, request); err != nil {
		return 0, err
	}
	if trickle {
		wg.Go(func() {
			for {
				if _, err := conn.Write([]byte("x")); err != nil {
					return // the answer has arrived
				}
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	answer := bufio.NewReader(conn)
	if _, err := answer.ReadByte(); err != nil {
		return 0, err
	}
	took := time.Since(began)
	line, err := answer.ReadString('\n')
	if err == nil && !strings.Contains(line, " 503 ") {
		err = fmt.Errorf("the gate answered %q to %q", line, request)
	}
	return took, err
}

// refusals measures how long refusals take, of each request in turn.
func (c *crowded) refusals(ctx context.Context, rounds int) ([]sample, error) {
	times := make([]sample, len(bodies))
	for round := range rounds + rounds/10 {
		for i, b := range bodies {
			took, err := firstByte(ctx, c.address, b.request, b.trickle)
			if err != nil {
				return nil, err
			}
			if round >= rounds/10 {
				times[i] = append(times[i], took)
			}
		}
	}
	return times, nil
}

func refusing(ctx context.Context, r *report, o options, c *crowded) error {
	times, err := c.refusals(ctx, o.rounds)
	if err != nil {
		return err
	}
	s := r.section("refused at the gate", "503 from a pod in maintenance, from before the request is sent until the first byte of the answer; ms. In turn, each on a connection of its own that is already open.",
		"request", "p50", "p99", "max", "× a GET's", "times")
	for i, b := range bodies {
		s.row(b.what, milliseconds(times[i].p50()), milliseconds(times[i].p99()), milliseconds(times[i].max()),
			round(float64(times[i].p50())/float64(times[0].p50()), 2), len(times[i]))
		if b.late {
			r.reach("503, "+b.what+", first byte", 50, milliseconds(times[i].p50()), "ms, p50")
		}
	}
	return nil
}

const (
	// lingers is how long a refused caller keeps its connection before a new one takes
	// its place. It is shorter than the pod's own limit for one that sends nothing.
	lingers = 1900 * time.Millisecond
	// lateCallers is enough that 1,000 connections are open while some come and go.
	lateCallers = 1150
)

// gather keeps callers at the gate whose bodies never come. When one leaves, another
// comes, until it is stopped.
func (c *crowded) gather(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for range lateCallers {
		wg.Go(func() {
			for stay := rand.N(lingers); ctx.Err() == nil; stay = lingers { // random at first, so that they do not all leave at once
				conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.address)
				if err != nil {
					continue
				}
				_, _ = io.WriteString(conn, lateBody)
				select {
				case <-time.After(stay):
				case <-ctx.Done():
				}
				_ = conn.Close()
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

// switched is how long the switch and a probe took, and with how many connections.
type switched struct {
	throws, asks sample
	open         float64 // the public line's connections, at least
}

// throw changes only the message of the maintenance.
func (c *crowded) throw(ctx context.Context, n int) (time.Duration, error) {
	return c.call(ctx, c.client, http.MethodPut, "/api/v1/admin/maintenance", tokenOf(0), "", fmt.Sprintf(`{"enabled":true,"message":"%d"}`, n))
}

func (c *crowded) switches(ctx context.Context, rounds int) (s switched, err error) {
	s.open = math.Inf(1)
	for n := range rounds {
		if n%10 == 0 {
			open, err := c.metric(c.client, `http_connections{line="public"}`)
			if err != nil {
				return s, err
			}
			s.open = min(s.open, open)
		}
		took, err := c.throw(ctx, n)
		if err != nil {
			return s, err
		}
		s.throws = append(s.throws, took)
		if took, err = c.call(ctx, c.client, http.MethodGet, "/readyz", tokenOf(0), "", ""); err != nil {
			return s, err
		}
		s.asks = append(s.asks, took)
	}
	return s, nil
}

// amongRefused measures the same once the crowd is there.
func (c *crowded) amongRefused(ctx context.Context, rounds int) (switched, error) {
	stop := c.gather(ctx)
	defer stop()
	err := untilEach(ctx, 50*time.Millisecond, "1,000 whose bodies do not come are open", func() (bool, error) {
		open, err := c.metric(c.client, `http_connections{line="public"}`)
		return open > maxWatchers, err
	})
	if err != nil {
		return switched{}, err
	}
	return c.switches(ctx, rounds)
}

func switching(ctx context.Context, r *report, o options, c *crowded) error {
	alone, err := c.switches(ctx, o.rounds)
	if err != nil {
		return err
	}
	among, err := c.amongRefused(ctx, o.rounds)
	if err != nil {
		return err
	}
	s := r.section("the switch in a crowd", fmt.Sprintf("A pod that refuses %d callers whose bodies do not come, on its public line: each is let go after %v and comes again. How long the switch (PUT /api/v1/admin/maintenance, durable) and /readyz take on the same line; ms. Connections: open on the line, at least, as the pod counts them.", lateCallers, lingers),
		"request", "crowd", "connections", "p50", "p99", "max", "times")
	for _, of := range []struct {
		what string
		s    switched
	}{{"none", alone}, {"refused", among}} {
		s.row("the switch", of.what, of.s.open, milliseconds(of.s.throws.p50()), milliseconds(of.s.throws.p99()), milliseconds(of.s.throws.max()), len(of.s.throws))
		s.row("/readyz", of.what, of.s.open, milliseconds(of.s.asks.p50()), milliseconds(of.s.asks.p99()), milliseconds(of.s.asks.max()), len(of.s.asks))
	}
	r.reach("the switch among 1,000 who were refused", 100, milliseconds(among.throws.p50()), "ms, p50")
	r.reach("/readyz among 1,000 who were refused", 100, milliseconds(among.asks.p50()), "ms, p50")
	return nil
}
