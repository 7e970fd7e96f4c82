package settings

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// suspicion is how soon the poller looks again when it found a commit that the
// listener had not announced: by then a notification that was merely on its way
// has arrived.
const suspicion = time.Second

// poller looks at the database once a TTL, and whenever it is asked to. It is
// the fallback for all that the listener can miss.
type poller struct {
	engine  *Engine
	asked   chan struct{} // capacity 1: a level, not a queue
	working atomic.Bool   // the last look succeeded
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
	var (
		unheard Revision // found by the last poll, not announced by the listener then
		backoff = firstBackoff
		full    = true
	)
	for {
		var err error
		if full {
			err = p.read(ctx)
		} else {
			unheard, err = p.poll(ctx, unheard)
		}
		if ctx.Err() != nil {
			return
		}

		p.working.Store(err == nil)
		ttl := p.engine.ttl
		wait := ttl - rand.N(ttl/5)
		switch {
		case err != nil:
			p.engine.metrics.polls.WithLabelValues("failed").Inc()
			p.engine.problem("poll", "the database cannot be read: "+err.Error())
			wait = min(wait, backoff/2+rand.N(backoff))
			backoff = min(2*backoff, mostBackoff)
		default:
			p.engine.metrics.polls.WithLabelValues("ok").Inc()
			p.engine.problem("poll", "")
			backoff = firstBackoff
			if unheard != 0 {
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
// where they differ. It returns the revision that the listener has yet to
// announce, 0 if there is none.
func (p *poller) poll(ctx context.Context, unheard Revision) (Revision, error) {
	e := p.engine
	l := e.listener
	if unheard != 0 && e.listening() && Revision(l.heard.Load()) < unheard {
		e.log.Warn("restarting the listener", zap.Error(errDeaf), zap.Int64("revision", int64(unheard)))
		e.metrics.repairs.WithLabelValues("deaf").Inc()
		l.restart(errDeaf)
	}

	base := e.Current()
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	head, err := readHead(ctx, e.pool)
	if err != nil {
		return unheard, err
	}
	if e.listening() && l.stale(head.channel) {
		e.log.Warn("restarting the listener", zap.Error(errRotated))
		l.restart(errRotated)
	}
	if base.source == SourceDatabase && head.revision == base.revision && head.digest == base.digest && !head.standby {
		e.confirm()
		return 0, nil
	}
	if now := e.Current(); now != base && now.revision >= head.revision {
		return 0, nil // applied while the answer was on its way
	}
	if err := p.read(ctx); err != nil {
		return unheard, err
	}
	if e.listening() && Revision(l.heard.Load()) < head.revision {
		return head.revision, nil
	}
	return 0, nil
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

// stale says whether the connection that stands listens on another channel.
func (l *listener) stale(channel string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.channel != channel
}
