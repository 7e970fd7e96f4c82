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
	superseded chan struct{} // closed when the next state is published
}

// holds reports whether what this side of a connection sends has to wait.
func (l *link) holds(conn int, from Side) bool {
	return l.stalled[from] || slices.Contains(l.dark, conn)
}

// Cut resets connections: all that exist, or only those with these numbers. Both
// sides get an RST at once, even on a stalled link. Bytes that were held for them
// are lost. New connections are accepted as before.
//
// A connection exists from the OnAccept hook on. Its client may see it as
// established a moment earlier.
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

// Refuse closes the port, so that new connections are refused. Existing connections
// go on. To imitate a server that is gone, call Refuse and then Cut.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
}

// Stall takes the link down silently. New connections are accepted, and hang. With
// numbers, only those connections go dark, and all others work as before, as behind
// a firewall that has forgotten some connections.
//
// The proxy's kernel still acknowledges what a client sends, and answers its
// keepalive probes. So TCP keepalive and TCP_USER_TIMEOUT do not detect this fault,
// just as they do not detect a dead server behind a live load balancer. Only a
// request that waits for the server's own answer does.
//
// Once Stall has returned, no more bytes pass.
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

// Delay makes bytes and ends of streams arrive later by d in each direction, which adds
// 2d to a round trip. Throughput is limited only because at
// most some thousand reads are under way at a time. Connecting to the proxy takes
// no longer than before.
func (p *Proxy) Delay(d time.Duration) { p.change(func(l *link) { l.delay = d }) }

// Heal ends all faults. Bytes that were held are sent in their order, without delay.
// A client that gave up before its connection was made is forgotten, and the server
// never sees it.
func (p *Proxy) Heal() error {
	p.change(func(l *link) { l.stalled, l.dark, l.delay = [2]bool{}, nil, 0 })
	if err := p.listen(); err != nil {
		return fmt.Errorf("listen again: %w", err)
	}
	return nil
}

// change publishes the link's next state, and returns when no connection acts on the
// previous one any more.
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
