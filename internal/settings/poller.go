package settings

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
)

// answerTimeout is for an answer on a connection that has stood for a while: it
// may have gone dark. On a new one readTimeout counts.
const answerTimeout = time.Second

// suspicion is how long a listener may take to announce a commit that a poll has
// found: a notification that is merely on its way arrives within it.
const suspicion = time.Second

// poller looks at the database once a TTL, and whenever it is asked to. It is
// the fallback for all that the listener can miss. Its connection is its own:
// writers that wait for a lock must not keep it from looking.
type poller struct {
	engine  *Engine
	config  *pgx.ConnConfig
	conn    *pgx.Conn     // nil: none stands. run's own
	asked   chan struct{} // capacity 1: a level, not a queue
	working atomic.Bool   // the last look succeeded

	// A commit that a poll found and the listener has yet to announce, and since
	// when; 0 for none. run's own.
	unheard      Revision
	unheardSince time.Time
}

func newPoller(e *Engine) *poller {
	return &poller{engine: e, config: e.pool.Config().ConnConfig, asked: make(chan struct{}, 1)}
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
	defer p.disconnect()
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

// ask puts a question on the poller's connection, and once more on a new one if
// the connection that stood has broken or does not answer.
func (p *poller) ask(ctx context.Context, question func(context.Context, *pgx.Conn) error) error {
	if p.conn != nil {
		err := p.try(ctx, answerTimeout, question)
		if p.conn != nil || ctx.Err() != nil {
			return err
		}
	}
	connecting, cancel := context.WithTimeoutCause(ctx, connectTimeout, fmt.Errorf("no answer within %v", connectTimeout))
	defer cancel()
	conn, err := pgx.ConnectConfig(connecting, p.config)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	p.conn = conn
	return p.try(ctx, readTimeout, question)
}

// try asks on the connection that stands. It goes on standing if there was an
// answer, be it an error.
func (p *poller) try(ctx context.Context, timeout time.Duration, question func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %v", timeout))
	defer cancel()
	err := question(ctx, p.conn)
	if err != nil && code(err) == "" || p.conn.IsClosed() {
		p.disconnect()
	}
	return err
}

func (p *poller) disconnect() {
	if p.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	_ = p.conn.Close(ctx)
	p.conn = nil
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
		head, err = readHead(ctx, conn)
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
