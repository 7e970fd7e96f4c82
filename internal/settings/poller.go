package settings

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.uber.org/zap"

	"platform-settings/settings"
)

// lookPause is the shortest time between two looks, no matter how many are asked for: a
// flood of unreadable notifications must not become a flood of reads.
const lookPause = 50 * time.Millisecond

// suspicion is how long a listener may take to announce a commit that a poll has found.
// A notification that is merely on its way arrives sooner.
const suspicion = time.Second

// poller looks at the database once a TTL, and whenever it is asked to. It finds
// everything that the listener can miss. Between looks it sends acknowledgements. It has
// its own connection, so that writers waiting for a lock do not keep it from looking.
type poller struct {
	keeper   *settings.Keeper
	log      *zap.Logger
	ttl      time.Duration
	register *register
	acks     *acknowledger
	listener *listener // nil: none
	looks    level     // asks for a look that begins after it was raised
	counts   pollerCounts

	database *atomic.Pointer[string] // the one that the link leads to; see head. nil: not known
	working  atomic.Bool             // the last look succeeded

	// The rest is used by run only.

	link
	leaving  bool // do not join the register again
	lookedAt time.Time
	compared bool // the snapshot has been compared with the database on the current connection
	found    head // the last head that equalled the snapshot

	// A commit that a poll has found, and that the listener has yet to announce.
	unheard      settings.Revision // 0: none
	unheardSince time.Time         // since when the listener has announced nothing at all
	unheardCount int64             // how many notifications it had announced then
}

type pollerCounts struct {
	ok, failed prometheus.Counter
	reads      prometheus.Counter
}

func countPoller(f promauto.Factory, reads prometheus.Counter) pollerCounts {
	polls := f.NewCounterVec(prometheus.CounterOpts{
		Name: "settings_polls_total", Help: "Looks of the poller at the database: ok or failed.",
	}, []string{"result"})
	return pollerCounts{ok: polls.WithLabelValues("ok"), failed: polls.WithLabelValues("failed"), reads: reads}
}

// connectTo prepares the link. On each new connection the pod joins the register before
// it reads.
func (p *poller) connectTo(config *pgx.ConnConfig) {
	p.link = link{config: config, connected: func(ctx context.Context, conn *pgx.Conn) error {
		p.compared = false
		if p.leaving {
			return nil
		}
		return p.register.join(ctx, conn)
	}}
}

// run polls at once, and then again and again until ctx ends.
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
			p.acks.owe()
		}
		p.keeper.CheckStale()
		wait := p.ttl
		if err != nil {
			p.counts.failed.Inc()
			p.keeper.Problem("poll", "the database cannot be read: "+explain(err), err)
			wait = min(wait, jittered(backoff))
			backoff, apart = min(2*backoff, mostBackoff), true
		} else {
			p.counts.ok.Inc()
			p.keeper.Problem("poll", "", nil)
			if apart { // once, so that pods that began together do not poll together
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

// idle sends acknowledgements until it is time to look again, or somebody asks for a
// look.
func (p *poller) idle(ctx context.Context, look <-chan time.Time) {
	for {
		asked, ripe := p.looks, (<-chan time.Time)(nil)
		if rest := lookPause - time.Since(p.lookedAt); rest > 0 {
			asked, ripe = nil, time.After(rest)
		}
		select {
		case <-look:
			return
		case <-asked:
			return
		case <-ripe:
		case <-p.acks.due():
			p.acks.begin(p.keeper.Current().Revision())
			if p.up() && p.compared && p.acknowledge(ctx) != nil {
				return // the connection broke, so look at once on a new one
			}
		case <-ctx.Done():
			return
		}
	}
}

func (p *poller) acknowledge(ctx context.Context) error {
	return p.try(ctx, answerTimeout, func(ctx context.Context, conn *pgx.Conn) error {
		joined, err := p.register.acknowledge(ctx, conn, p.state())
		if !joined {
			p.acks.owe()
		}
		return err
	})
}

// state says in a word how changes arrive, for people.
func (p *poller) state() string {
	switch {
	case p.listener.hears():
		return "live"
	case p.working.Load():
		return "polling"
	}
	return "connecting"
}

// end leaves the fleet and closes the connection. Call it when nothing runs any more.
func (p *poller) end() {
	if p.register != nil && p.database.Load() != nil { // otherwise the pod never joined
		ctx, cancel := context.WithTimeout(context.Background(), 2*answerTimeout)
		defer cancel()
		p.leaving = true
		if err := p.ask(ctx, p.register.leave); err != nil {
			p.log.Warn("this pod could not leave the fleet's register: it will be reported as lost", zap.Error(err))
		}
	}
	p.disconnect()
}

// poll compares the database's head with the snapshot, and reads the table if they
// differ.
func (p *poller) poll(ctx context.Context) error {
	p.checkHearing()
	var head head
	err := p.ask(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		head, err = p.readHead(ctx, conn, p.keeper.Begin())
		return err
	})
	if err != nil {
		return err
	}
	p.database.Store(&head.database)
	p.reportTriggers(head)
	p.checkListener(head)
	if !head.standby {
		switch p.keeper.Compare(head.Head) {
		case settings.Same:
			p.found = head
			return nil
		case settings.Late:
			return nil
		}
	}
	return p.read(ctx)
}

// readHead reads the head. If the version is unchanged, the last head still holds.
func (p *poller) readHead(ctx context.Context, conn *pgx.Conn, base settings.Base) (head, error) {
	if !p.compared {
		return readHead(ctx, conn, base)
	}
	version, err := p.checkIn(ctx, conn)
	switch {
	case err != nil && conn.IsClosed():
		return head{}, err
	case err == nil && version == p.found.version:
		h := p.found
		h.Base = base
		return h, nil
	}
	return readHead(ctx, conn, base) // even if the pod cannot check in
}

// checkIn reads the version, and checks in if the pod is a member of the fleet.
func (p *poller) checkIn(ctx context.Context, conn *pgx.Conn) (version string, err error) {
	if p.register == nil {
		return readVersion(ctx, conn)
	}
	version, joined, err := p.register.checkIn(ctx, conn, p.state())
	if err == nil && !joined {
		p.acks.owe()
	}
	return version, err
}

func (p *poller) reportTriggers(h head) {
	text := ""
	if h.triggers != "" {
		text = h.triggers + ": changes may go unnumbered and unannounced until the poll finds them; run the migrations' ALTER TABLE … ENABLE ALWAYS TRIGGER again"
	}
	p.keeper.Problem("triggers", text, nil)
}

// checkListener restarts a listener on the wrong channel or database. It begins to
// suspect one that has not announced the commit that this poll has found.
func (p *poller) checkListener(h head) {
	if !p.listener.hears() {
		return
	}
	switch astray := p.listener.astray(h); {
	case astray != nil:
		p.log.Warn("restarting the listener", zap.Error(astray))
		p.listener.restart(astray)
	case p.unheard == 0 && !p.listener.has(h.Revision):
		p.unheard, p.unheardSince, p.unheardCount = h.Revision, time.Now(), p.listener.count.Load()
	}
}

// checkHearing restarts a listener that has announced neither what a poll found, nor
// anything else since. If it still announces older commits, it is merely behind, as in a
// flood; on a new connection it would be further behind.
func (p *poller) checkHearing() {
	switch {
	case p.unheard == 0:
		return
	case p.listener.hears() && !p.listener.has(p.unheard):
		if count := p.listener.count.Load(); count != p.unheardCount {
			p.unheardSince, p.unheardCount = time.Now(), count
		}
		if time.Since(p.unheardSince) < suspicion {
			return
		}
		p.log.Warn("restarting the listener", zap.Error(errDeaf), zap.Int64("revision", int64(p.unheard)))
		p.listener.restart(errDeaf)
	}
	p.unheard = 0
}

// read reads the whole table and has the keeper adopt it. If the database went back, it
// restarts the listener, which may still be connected to the old server.
func (p *poller) read(ctx context.Context) error {
	var r *settings.Reading
	err := p.ask(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		p.counts.reads.Inc()
		r, err = readTable(ctx, conn, p.keeper.Begin())
		return err
	})
	if err != nil {
		return err
	}
	p.working.Store(true) // first, so that nobody sees the new snapshot together with the old failure
	switch p.keeper.Adopt(r) {
	case settings.WentBack:
		p.listener.restart(errWentBack)
		p.acks.owe()
	case settings.Adopted:
		p.acks.owe()
	case settings.AskAgain:
		p.looks.raise()
	}
	return nil
}
