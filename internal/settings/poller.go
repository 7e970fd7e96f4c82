package settings

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// suspicion is how long a listener may take to announce a commit that a poll has
// found: a notification that is merely on its way arrives within it.
const suspicion = time.Second

// poller looks at the database once a TTL, and whenever it is asked to. It is
// the fallback for all that the listener can miss.
type poller struct {
	engine  *Engine
	asked   chan struct{} // capacity 1: a level, not a queue
	working atomic.Bool   // the last look succeeded

	// A commit that a poll found and the listener has yet to announce, and since
	// when; 0 for none. run's own.
	unheard      Revision
	unheardSince time.Time
}

func newPoller(e *Engine) *poller {
	return &poller{engine: e, asked: make(chan struct{}, 1)}
}

// refresh asks for a full read that begins after this call. It never blocks.
func (p *poller) refresh() {
	select {
	case p.asked <- struct{}{}:
	default:
	}
}

// run polls until ctx ends; the first time at once.
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

		retry := full && err != nil // what was asked for is still owed
		select {
		case <-time.After(wait):
			full = retry
		case <-p.asked:
			full = true
		case <-ctx.Done():
			return
		}
	}
}

// poll compares the head and the content with the snapshot, and reads the table
// where they differ.
func (p *poller) poll(ctx context.Context) error {
	e := p.engine
	p.checkHearing()
	base, began := e.Current(), time.Now()
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	head, err := readHead(ctx, e.pool)
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
	r, err := p.engine.read(ctx, p.engine.pool)
	if err != nil {
		return err
	}
	p.engine.deliver(ctx, r)
	return nil
}
