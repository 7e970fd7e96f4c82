package settings

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
)

// suspicion is how long a listener may take to announce a commit that a poll has
// found: a notification that is merely on its way arrives within it.
const suspicion = time.Second

// poller looks at the database once a TTL, and whenever it is asked to. It is
// the fallback for all that the listener can miss. Its connection is its own:
// writers that wait for a lock must not keep it from looking.
type poller struct {
	engine  *Engine
	asked   chan struct{} // capacity 1: a level, not a queue
	owed    chan struct{} // likewise: an acknowledgement
	working atomic.Bool   // the last look succeeded

	// The rest is run's own.

	link
	compared       bool      // the snapshot was compared with what the link leads to now
	acknowledged   *Snapshot // on this connection; nil: none
	acknowledgedAt time.Time

	// A commit that a poll found and the listener has yet to announce, and since
	// when; 0 for none. run's own.
	unheard      Revision
	unheardSince time.Time
}

func newPoller(e *Engine) *poller {
	p := &poller{engine: e, asked: make(chan struct{}, 1), owed: make(chan struct{}, 1)}
	p.link = link{config: e.pool.Config().ConnConfig, connected: func(ctx context.Context, conn *pgx.Conn) error {
		p.compared, p.acknowledged = false, nil
		return e.member.join(ctx, conn)
	}}
	return p
}

// refresh asks for a full read that begins after this call. It never blocks.
func (p *poller) refresh() {
	select {
	case p.asked <- struct{}{}:
	default:
	}
}

// owe asks for an acknowledgement, though the snapshot is still the same. It
// never blocks.
func (p *poller) owe() {
	select {
	case p.owed <- struct{}{}:
	default:
	}
}

// run polls until ctx ends; the first time at once. In between it acknowledges.
func (p *poller) run(ctx context.Context) {
	backoff, full := firstBackoff, true
	for {
		var err error
		if full {
			err = p.read(ctx)
		} else {
			err = p.poll(ctx)
		}
		if ctx.Err() != nil {
			return
		}

		p.working.Store(err == nil)
		p.compared = p.compared || err == nil
		p.engine.checkStale()
		ttl := p.engine.ttl
		wait := ttl - rand.N(ttl/5)
		switch {
		case err != nil:
			p.engine.metrics.polls.WithLabelValues("failed").Inc()
			p.engine.problem("poll", "the database cannot be read: "+explain(err), err)
			wait = min(wait, backoff/2+rand.N(backoff))
			backoff = min(2*backoff, mostBackoff)
		default:
			p.engine.metrics.polls.WithLabelValues("ok").Inc()
			p.engine.problem("poll", "", nil)
			backoff = firstBackoff
			if p.unheard != 0 {
				wait = min(wait, suspicion)
			}
		}

		asked := p.idle(ctx, time.After(wait))
		if ctx.Err() != nil {
			return
		}
		full = asked || full && err != nil // what was asked for is still owed
	}
}

// idle acknowledges what is put in force until it is time to look again. It
// returns whether somebody asked for a full read.
func (p *poller) idle(ctx context.Context, look <-chan time.Time) (asked bool) {
	for {
		var news <-chan struct{}
		var due <-chan time.Time
		if p.engine.member != nil && p.conn != nil && p.compared {
			now := p.engine.state.Load()
			if now.snap == p.acknowledged {
				news = now.superseded
			} else {
				due = time.After(time.Until(p.acknowledgedAt.Add(acknowledgePause)))
			}
		}
		select {
		case <-look:
			return false
		case <-p.asked:
			return true
		case <-news:
		case <-p.owed:
			p.acknowledged = nil
		case <-due:
			if p.acknowledge(ctx) != nil {
				return false // the connection broke: look at once, on a new one
			}
		case <-ctx.Done():
			return false
		}
	}
}

func (p *poller) acknowledge(ctx context.Context) error {
	now := p.engine.Current()
	p.acknowledged, p.acknowledgedAt = now, time.Now()
	return p.try(ctx, answerTimeout, func(ctx context.Context, conn *pgx.Conn) error {
		return p.engine.member.acknowledge(ctx, conn, now)
	})
}

// end leaves the fleet and closes the connection, once nothing runs any more.
func (p *poller) end() {
	if p.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
		defer cancel()
		p.engine.member.leave(ctx, p.conn)
	}
	p.disconnect()
}

// poll compares the head and the content with the snapshot, and reads the table
// where they differ.
func (p *poller) poll(ctx context.Context) error {
	e := p.engine
	p.checkHearing()
	var (
		base  *Snapshot
		began time.Time
		head  head
	)
	err := p.ask(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		base, began = e.Current(), time.Now()
		head, err = p.readHead(ctx, conn)
		return err
	})
	if err != nil {
		return err
	}
	text := ""
	if head.triggers != "" {
		text = head.triggers + ": changes may go unnumbered and unannounced until the poll finds them; run the migrations' ALTER TABLE … ENABLE ALWAYS TRIGGER again"
	}
	e.problem("triggers", text, nil)
	switch {
	case !e.listening():
	case e.listener.stale(head.channel):
		e.log.Warn("restarting the listener", zap.Error(errRotated))
		e.listener.restart(errRotated)
	case p.unheard == 0 && !e.listener.has(head.revision):
		p.unheard, p.unheardSince = head.revision, time.Now()
	}
	now := e.Current()
	same := base.source == SourceDatabase && head.revision == base.revision && head.digest == base.digest
	// Late: what the database had then was applied while the answer was on its way.
	late := now != base && now.lineage == base.lineage && base.revision <= head.revision && head.revision <= now.revision
	if (same || late) && !head.standby {
		e.confirm(began)
		return nil
	}
	return p.read(ctx)
}

// readHead reads the head, and checks in with the same query.
func (p *poller) readHead(ctx context.Context, conn *pgx.Conn) (head, error) {
	m := p.engine.member
	if m == nil || !p.compared {
		return readHead(ctx, conn)
	}
	now := p.engine.Current()
	h, err := m.checkIn(ctx, conn, now)
	if err == nil && h.fleet.joined {
		p.acknowledged, p.acknowledgedAt = now, time.Now()
	}
	if err != nil && !conn.IsClosed() {
		return readHead(ctx, conn) // whoever cannot check in can still look
	}
	return h, err
}

// checkHearing restarts a listener that has not announced what a poll found.
func (p *poller) checkHearing() {
	e := p.engine
	switch {
	case p.unheard == 0:
		return
	case e.listening() && !e.listener.has(p.unheard):
		if time.Since(p.unheardSince) < suspicion {
			return
		}
		e.log.Warn("restarting the listener", zap.Error(errDeaf), zap.Int64("revision", int64(p.unheard)))
		e.metrics.repairs.WithLabelValues("deaf").Inc()
		e.listener.restart(errDeaf)
	}
	p.unheard = 0
}

// read reads the whole table and has the writer adopt it.
func (p *poller) read(ctx context.Context) error {
	var r *reading
	err := p.ask(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		r, err = p.engine.read(ctx, conn)
		return err
	})
	if err != nil {
		return err
	}
	p.engine.deliver(ctx, r)
	return nil
}
