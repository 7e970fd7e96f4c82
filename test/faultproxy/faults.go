package faultproxy

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// link is the state of the path between the sides. It is immutable: a fault
// publishes the next one.
type link struct {
	stalled    [2]bool // by the side that sends, for all connections
	dark       []int   // the connections that are stalled by themselves
	delay      time.Duration
	superseded chan struct{} // closed when this is the state no longer
}

// holds says whether what a side of a connection sends has to wait.
func (l *link) holds(conn int, from Side) bool {
	return l.stalled[from] || slices.Contains(l.dark, conn)
}

// Cut resets connections, all that stand or only those with the numbers given:
// both sides get an RST at once, on a stalled link too. What was held for them
// is lost. New connections are accepted as before.
//
// A connection stands from the OnAccept hook on; a client may take itself for
// connected a moment earlier.
func (p *Proxy) Cut(numbers ...int) {
	p.mu.Lock()
	cut := slices.Collect(maps.Values(p.conns))
	p.mu.Unlock()
	for _, c := range cut {
		if len(numbers) == 0 || slices.Contains(numbers, c.number) {
			c.end(true)
		}
	}
}

// Refuse makes clients meet a port where nobody listens. Connections that stand
// go on: for a server that is gone, Refuse and then Cut.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
}

// Stall takes the link down in silence. New connections are accepted, and hang.
// With numbers, only those connections go dark, and others are made and work as
// before: a firewall that forgot the connections it had let through.
//
// The proxy's kernel still acknowledges what a client sends, and answers its
// keepalive probes: this is the link that TCP keepalive and TCP_USER_TIMEOUT
// cannot see, such as one with a dead server behind a living load balancer.
// Only a question that waits for the server's own answer tells.
//
// When Stall has returned, no byte passes that had not passed before.
func (p *Proxy) Stall(numbers ...int) {
	p.change(func(l *link) {
		if len(numbers) == 0 {
			l.stalled = [2]bool{true, true}
		}
		l.dark = slices.Concat(l.dark, numbers)
	})
}

// StallFrom is Stall for what one side sends. From the client, that includes
// its requests to connect. It adds to a stall from the other side.
func (p *Proxy) StallFrom(side Side) { p.change(func(l *link) { l.stalled[side] = true }) }

// Delay lets bytes and ends of streams arrive that much later, in each
// direction: a round trip takes twice as long. It limits throughput only in that
// some thousand reads are under way at a time. Connecting to the proxy takes no
// longer than before.
func (p *Proxy) Delay(d time.Duration) { p.change(func(l *link) { l.delay = d }) }

// Heal ends all faults. What was held goes on in its order, without delay. A
// client that gave up before its connection could be made is forgotten; the
// server never hears of it.
func (p *Proxy) Heal() error {
	p.change(func(l *link) { l.stalled, l.dark, l.delay = [2]bool{}, nil, 0 })
	if err := p.listen(); err != nil {
		return fmt.Errorf("listen again: %w", err)
	}
	return nil
}

// change publishes the link's next state and returns when no connection acts on
// the last one.
func (p *Proxy) change(edit func(*link)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := p.link.Load()
	next := *last
	edit(&next)
	next.superseded = make(chan struct{})
	p.link.Store(&next)
	close(last.superseded)
	for _, c := range p.conns {
		c.settle()
	}
}
