package settings

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"platform-settings/settings"
)

// DefaultTTL is how often the poll looks at the database.
const DefaultTTL = 10 * time.Second

// MinTTL is the shortest TTL an engine takes.
const MinTTL = 50 * time.Millisecond

// Config is what an engine needs.
type Config struct {
	// Pool is for writes. Its config is also used for the connections of the poller and
	// the lookout. Required; see [PoolConfig]. The caller closes it after Run.
	Pool *pgxpool.Pool

	// Listen is where the listener connects: directly to the server, not to a pooler;
	// see [ListenConfig]. Nil: there is no listener, and changes arrive by the poll.
	Listen *pgx.ConnConfig

	// TTL is the time between polls, at least MinTTL; 0 means DefaultTTL. After the
	// first poll, and after a failure, the next one comes sooner, at a random time.
	TTL time.Duration

	// Before runs once, before the database is first used; it may migrate the schema,
	// for example. It may report an error that delays it, and nil when that is over. If
	// it returns an error, Run ends with it. Nil: nothing runs.
	Before func(ctx context.Context, report func(error)) error

	// LastGoodFile is as in [settings.Config].
	LastGoodFile string

	// MaxStaleness is as in [settings.Config]; at least twice the TTL if it is set.
	MaxStaleness time.Duration

	// Maintenance is the switch until the database or the last-good file has been
	// read. Nil: off.
	Maintenance *bool

	// Pod is this process's name in the fleet's register, and Build is its version.
	// Without a name it is not a member, and its reports are [settings.ErrFleetUnknown].
	Pod, Build string

	// Log receives transitions, but not each retry. Nil: nothing is logged.
	Log *zap.Logger

	// Registerer registers the metrics. Nil: they are counted, but not registered.
	Registerer prometheus.Registerer
}

// Engine keeps a snapshot in step with PostgreSQL, writes to it, and reports on the
// fleet. Make one with [New], call [Engine.Run] once, and use it from any goroutine
// at any time.
type Engine struct {
	*settings.Keeper
	*writer
	*lookout

	before   func(context.Context, func(error)) error
	running  atomic.Bool
	listener *listener // nil: none
	poller   *poller
}

// New makes an engine. The error says what is wrong with the config. New does no I/O,
// and starts nothing.
func New(c Config) (*Engine, error) {
	switch {
	case c.Pool == nil:
		return nil, errors.New("settings: Config.Pool is required")
	case c.TTL < 0 || c.TTL > 0 && c.TTL < MinTTL:
		return nil, fmt.Errorf("settings: Config.TTL is %v; it must be at least %v", c.TTL, MinTTL)
	}
	c.TTL = cmp.Or(c.TTL, DefaultTTL)
	if c.MaxStaleness != 0 && c.MaxStaleness < 2*c.TTL {
		return nil, fmt.Errorf("settings: Config.MaxStaleness is %v; it must be at least twice the TTL of %v", c.MaxStaleness, c.TTL)
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	keeper := settings.NewKeeper(settings.Config{
		Maintenance: c.Maintenance, MaxStaleness: c.MaxStaleness, LastGoodFile: c.LastGoodFile, Log: c.Log, Registerer: c.Registerer,
	})
	f := promauto.With(c.Registerer)
	reads := f.NewCounter(prometheus.CounterOpts{Name: "settings_full_reads_total", Help: "Full reads of the table begun."})
	connection := c.Pool.Config().ConnConfig
	register := newRegister(c, keeper)
	e := &Engine{
		Keeper: keeper, before: c.Before,
		lookout: newLookout(connection, c.TTL, keeper, register, f),
	}
	var acks *acknowledger
	if register != nil {
		acks = newAcknowledger(register.pods)
	}
	looks, database := newLevel(), new(atomic.Pointer[string])
	heard := countListener(f, reads)
	if c.Listen != nil {
		e.listener = &listener{config: c.Listen, keeper: keeper, register: register, acks: acks, looks: looks, database: database, counts: heard}
	}
	e.poller = &poller{
		keeper: keeper, log: c.Log, ttl: c.TTL, register: register, acks: acks, listener: e.listener, looks: looks,
		database: database, counts: countPoller(f, reads),
	}
	e.poller.connectTo(connection)
	e.writer = &writer{pool: c.Pool, keeper: keeper, await: e.Await}
	e.measure(f)
	return e, nil
}

func (e *Engine) measure(f promauto.Factory) {
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "settings_listener_live", Help: "1 while the listener is live; 0 while changes arrive by the poll alone.",
	}, func() float64 {
		if e.listener.hears() {
			return 1
		}
		return 0
	})
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "settings_problems", Help: "What is degraded now, as listed by /readyz.",
	}, func() float64 { return float64(len(e.Status().Problems)) })
}

// Run keeps the snapshot in step until ctx ends, and then returns nil. If the database
// fails, it goes on trying, and reports that in the log, the metrics and
// [Engine.Status]. It returns an error only if Config.Before does, or if it was called
// before.
func (e *Engine) Run(ctx context.Context) error {
	if e.running.Swap(true) {
		return errors.New("settings: Run was called twice")
	}
	e.Load()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { e.Save(ctx); return nil })
	group.Go(func() error { e.lookout.run(ctx); return nil })
	group.Go(func() error {
		if e.before != nil {
			if err := e.before(ctx, e.reportSchema); err != nil {
				return err
			}
		}
		group.Go(func() error { e.poller.run(ctx); return nil })
		if e.listener != nil {
			group.Go(func() error { e.listener.run(ctx); return nil })
		}
		return nil
	})
	err := group.Wait()
	e.poller.end()
	return err
}

func (e *Engine) reportSchema(err error) {
	text := ""
	if err != nil {
		text = "cannot be checked yet, trying again: " + explain(err)
	}
	e.Problem("schema", text, err)
}

// Status reports the engine's state now.
func (e *Engine) Status() settings.Status {
	s := e.Keeper.Status()
	s.Listener = e.poller.state()
	if e.listener != nil && !e.listener.hears() && !e.HasProblem("listener") {
		s.Problems = append(s.Problems, "listener: not listening yet, changes arrive by the poll alone")
	}
	return s
}

// announceWait is how long Await waits for the listener until it asks the poller to
// look.
const announceWait = 100 * time.Millisecond

// Await waits until a revision is in force on this pod. If ctx ends first, it returns
// the cause ([context.Cause]).
func (e *Engine) Await(ctx context.Context, r settings.Revision) error {
	look := time.AfterFunc(announceWait, e.poller.looks.raise)
	defer look.Stop()
	if !e.listener.hears() {
		e.poller.looks.raise()
	}
	return e.Reached(ctx, r)
}
