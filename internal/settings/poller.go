package settings

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
)

// lookPause is between two looks at least, however often somebody asks: a flood
// of notifications that cannot be read must not become a flood of reads.
const lookPause = 50 * time.Millisecond

// suspicion is how long a listener may take to announce a commit that a poll has
// found: a notification that is merely on its way arrives within it.
const suspicion = time.Second

// poller looks at the database once a TTL, and whenever it is asked to. It is
// the fallback for all that the listener can miss. Its connection is its own:
// writers that wait for a lock must not keep it from looking.
type poller struct {
	engine  *Engine
	asked   chan struct{} // capacity 1: a level, not a queue
	working atomic.Bool   // the last look succeeded

	awaited atomic.Int64 // the revision whose acknowledgement somebody waits for; 0: none

	mu      sync.Mutex
	due     *time.Timer   // the next acknowledgement
	dueAt   time.Time     // when it fires; zero: it does not
	resting time.Duration // about how long the rest is that ends at rested
	rested  time.Time     // the next one that nobody waits for is not before

	database atomic.Pointer[string] // that it leads to; see head. nil: not known

	// The rest is run's own.

	link
	lookedAt time.Time
	compared bool // the snapshot was compared with what the link leads to now

	found head // when the snapshot was last found to be the same

	// A commit that a poll found and the listener has yet to announce, and since
	// when; 0 for none.
	unheard      Revision
	unheardSince time.Time
	unheardCount int64 // of notifications by then
}

func newPoller(e *Engine) *poller {
	p := &poller{engine: e, asked: make(chan struct{}, 1), due: time.NewTimer(time.Hour)}
	p.due.Stop()
	p.link = link{config: e.pool.Config().ConnConfig, connected: func(ctx context.Context, conn *pgx.Conn) error {
		p.compared = false
		return e.member.join(ctx, conn)
	}}
	return p
}

// refresh asks for a look that begins after this call. It never blocks.
func (p *poller) refresh() {
	select {
	case p.asked <- struct{}{}:
	default:
	}
}

// owe asks for an acknowledgement, soon. It never blocks, and wakes nobody: what
// is put in force is not to be slowed down by telling of it.
func (p *poller) owe() {
	if p.engine.member == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	at := time.Now().Add(p.modesty())
	if at.Before(p.rested) && p.awaited.Load() == 0 {
		at = p.rested
	}
	if p.dueAt.IsZero() || at.Before(p.dueAt) {
		p.dueAt = at
		p.due.Reset(time.Until(at))
	}
}

// rest is before each acknowledgement: what is put in force from then on asks
// for another, and where nobody waits for that it comes later; twice as late each
// time, for as long as there is always one that had to wait for the rest's end.
func (p *poller) rest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	rest := time.Duration(p.pods()) * acknowledgeRest
	if p.dueAt.Equal(p.rested) {
		rest = max(rest, 2*p.resting)
	}
	p.resting = min(rest, mostRest)
	p.dueAt, p.rested = time.Time{}, time.Now().Add(p.resting/2+rand.N(p.resting))
	if awaited := p.awaited.Load(); int64(p.engine.Current().revision) >= awaited {
		p.awaited.CompareAndSwap(awaited, 0)
	}
}

// run polls until ctx ends; the first time at once. In between it acknowledges.
func (p *poller) run(ctx context.Context) {
	backoff, apart := firstBackoff, true
	for {
		p.lookedAt = time.Now()
		err := p.poll(ctx)
		if ctx.Err() != nil {
			return
		}

		p.working.Store(err == nil)
		if err == nil && !p.compared {
			p.compared = true
			p.owe()
		}
		p.engine.checkStale()
		wait := p.engine.ttl
		switch {
		case err != nil:
			p.engine.metrics.polls.WithLabelValues("failed").Inc()
			p.engine.problem("poll", "the database cannot be read: "+explain(err), err)
			wait = min(wait, jittered(backoff))
			backoff, apart = min(2*backoff, mostBackoff), true
		default:
			p.engine.metrics.polls.WithLabelValues("ok").Inc()
			p.engine.problem("poll", "", nil)
			if apart { // once: pods that began together are to poll apart
				wait = rand.N(wait)
			}
			backoff, apart = firstBackoff, false
			if p.unheard != 0 {
				wait = min(wait, suspicion)
			}
		}
		p.idle(ctx, time.After(wait))
		if ctx.Err() != nil {
			return
		}
	}
}

// idle acknowledges what is put in force, until it is time to look again or
// somebody asks for it.
func (p *poller) idle(ctx context.Context, look <-chan time.Time) {
	for {
		asked, ripe := p.asked, (<-chan time.Time)(nil)
		if rest := lookPause - time.Since(p.lookedAt); rest > 0 {
			asked, ripe = nil, time.After(rest)
		}
		select {
		case <-look:
			return
		case <-asked:
			return
		case <-ripe:
		case <-p.due.C:
			p.rest()
			if p.conn != nil && p.compared && p.acknowledge(ctx) != nil {
				return // the connection broke: look at once, on a new one
			}
		case <-ctx.Done():
			return
		}
	}
}

// modesty is how long an acknowledgement waits, so that it does not take the
// processor from notifications that other pods are still to get: longer in a
// larger fleet, and by chance.
func (p *poller) modesty() time.Duration {
	wait := min(max(leastModesty, time.Duration(p.pods())*acknowledgeShare), mostModesty)
	return wait + rand.N(wait)
}

// pods is how many the last check-in counted, this one at least.
func (p *poller) pods() int64 {
	if size := p.engine.fleetSize.Load(); size != nil {
		return max(1, size.current+size.behind)
	}
	return 1
}

func (p *poller) acknowledge(ctx context.Context) error {
	return p.try(ctx, answerTimeout, func(ctx context.Context, conn *pgx.Conn) error {
		return p.engine.member.acknowledge(ctx, conn, p.engine.Current())
	})
}

// end leaves the fleet and closes the connection, once nothing runs any more.
func (p *poller) end() {
	if p.engine.member != nil && p.database.Load() != nil { // else it never joined
		ctx, cancel := context.WithTimeout(context.Background(), 2*answerTimeout)
		defer cancel()
		p.connected = func(context.Context, *pgx.Conn) error { return nil } // not to join again
		if err := p.ask(ctx, p.engine.member.leave); err != nil {
			p.engine.log.Warn("this pod could not leave the fleet's register: it will be reported as lost", zap.Error(err))
		}
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
		head, err = p.readHead(ctx, conn, base)
		return err
	})
	if err != nil {
		return err
	}
	p.database.Store(&head.database)
	text := ""
	if head.triggers != "" {
		text = head.triggers + ": changes may go unnumbered and unannounced until the poll finds them; run the migrations' ALTER TABLE … ENABLE ALWAYS TRIGGER again"
	}
	e.problem("triggers", text, nil)
	if e.listening() {
		switch astray := e.listener.astray(head); {
		case astray != nil:
			e.log.Warn("restarting the listener", zap.Error(astray))
			e.listener.restart(astray)
		case p.unheard == 0 && !e.listener.has(head.revision):
			p.unheard, p.unheardSince, p.unheardCount = head.revision, time.Now(), e.listener.count.Load()
		}
	}
	now := e.Current()
	other := base.differs(head.baseAt)
	same := base.source == SourceDatabase && !other && head.revision == base.revision && head.digest == base.digest
	// Late: what the database had then was applied while the answer was on its way.
	late := !other && now != base && now.lineage == base.lineage && base.revision <= head.revision && head.revision <= now.revision
	if (same || late) && !head.standby {
		if same {
			p.found = head
		}
		e.confirm(began)
		return nil
	}
	return p.read(ctx)
}

// readHead reads the head, or only that it is still the one that was found. That
// one tells of found's own revision, and so of any snapshot that it is the same as.
func (p *poller) readHead(ctx context.Context, conn *pgx.Conn, base *Snapshot) (head, error) {
	if !p.compared {
		return readHead(ctx, conn, base)
	}
	version, err := p.checkIn(ctx, conn, base)
	switch {
	case err != nil && conn.IsClosed():
		return head{}, err
	case err == nil && version == p.found.version:
		return p.found, nil
	}
	return readHead(ctx, conn, base) // also for who cannot check in
}

// checkIn does that, if the pod takes part in the fleet, and reads the version.
func (p *poller) checkIn(ctx context.Context, conn *pgx.Conn, base *Snapshot) (version string, err error) {
	if p.engine.member == nil {
		return readVersion(ctx, conn)
	}
	return p.engine.member.checkIn(ctx, conn, base)
}

// checkHearing restarts a listener that has not announced what a poll found, and
// nothing else either: one that is behind, as in a flood of notifications, would be
// further behind on a new connection.
func (p *poller) checkHearing() {
	e := p.engine
	switch {
	case p.unheard == 0:
		return
	case e.listening() && !e.listener.has(p.unheard):
		if count := e.listener.count.Load(); count != p.unheardCount {
			p.unheardSince, p.unheardCount = time.Now(), count
		}
		if time.Since(p.unheardSince) < suspicion {
			return
		}
		e.log.Warn("restarting the listener", zap.Error(errDeaf), zap.Int64("revision", int64(p.unheard)))
		e.listener.restart(errDeaf)
		e.metrics.repairs.WithLabelValues("deaf").Inc()
	}
	p.unheard = 0
}

// read reads the whole table and adopts it.
func (p *poller) read(ctx context.Context) error {
	var r *reading
	err := p.ask(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		r, err = p.engine.read(ctx, conn)
		return err
	})
	if err != nil {
		return err
	}
	p.working.Store(true) // first: who sees what the poll brought is not to be told that nothing did
	p.engine.adopt(r)
	return nil
}
