package settings

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// DefaultTTL is how often the poll looks at the database.
const DefaultTTL = 10 * time.Second

// MinTTL is the shortest TTL an engine takes.
const MinTTL = 50 * time.Millisecond

// Config is what an engine needs.
type Config struct {
	// Pool serves writes, and its config the poller's own connection. Required;
	// see [PoolConfig]. The caller closes it after Run.
	Pool *pgxpool.Pool

	// Listen is where the listener connects: a direct line to the server, not
	// a pooler. Nil: no listener, changes arrive by poll; see [ListenConfig].
	Listen *pgx.ConnConfig

	// TTL is how often the poll looks; the first time, and after a failure, it
	// looks sooner, by chance. 0 means DefaultTTL; at least MinTTL.
	TTL time.Duration

	// Before runs once, before the database is first used: it brings the schema
	// up to date, say. It reports why that takes time, nil when it is over; its
	// error ends Run. Nil: nothing runs.
	Before func(ctx context.Context, report func(error)) error

	// LastGoodFile is where the last snapshot from the database is kept, and
	// read from at the start of Run. It holds settings that are not public, and
	// is readable by its owner only. Empty: there is none.
	LastGoodFile string

	// MaxStaleness is how long after the database last confirmed the snapshot
	// [Engine.Stale] says that it is stale. 0: never. At least twice the TTL.
	MaxStaleness time.Duration

	// Maintenance is the switch until the database or the last-good file was
	// read. Nil: off.
	Maintenance *bool

	// Pod is this process's name in the fleet's register, and Build its version.
	// No name: it takes no part, and its reports are [ErrFleetUnknown].
	Pod, Build string

	// Log gets transitions, not retries. Nil: nothing is logged.
	Log *zap.Logger

	// Registerer gets the metrics. Nil: they are kept, but not registered.
	Registerer prometheus.Registerer
}

// Engine keeps the current snapshot in step with the database. Make one with
// [New], call [Engine.Run] once, and read from any goroutine at any time.
type Engine struct {
	pool    *pgxpool.Pool
	ttl     time.Duration
	log     *zap.Logger
	metrics *metrics

	before       func(context.Context, func(error)) error
	lastGood     string // the file; "": none
	maxStaleness time.Duration

	slots   []slotKey // fixed once running
	initial *bool     // MAINTENANCE_MODE
	running atomic.Bool

	writing   sync.Mutex // held by who makes the next state from the current one
	state     atomic.Pointer[state]
	confirmed atomic.Pointer[time.Time] // as of when the database last confirmed the snapshot
	fleetSize atomic.Pointer[fleetSize] // as of the last poll; nil: not known
	listener  *listener                 // nil: none
	poller    *poller
	member    *member // nil: takes no part in the fleet
	lookout   *lookout

	mu       sync.Mutex
	problems map[string]string // by topic; see problem
}

// state is what readers load: a snapshot, and a channel that closes when it is
// no longer the current one.
type state struct {
	snap       *Snapshot
	superseded chan struct{}
}

// New checks the config. It does no I/O and starts nothing.
func New(c Config) (*Engine, error) {
	switch {
	case c.Pool == nil:
		return nil, errors.New("settings: Config.Pool is required")
	case c.TTL < 0 || c.TTL > 0 && c.TTL < MinTTL:
		return nil, fmt.Errorf("settings: Config.TTL is %v; it must be at least %v", c.TTL, MinTTL)
	}
	ttl := cmp.Or(c.TTL, DefaultTTL)
	if c.MaxStaleness != 0 && c.MaxStaleness < 2*ttl {
		return nil, fmt.Errorf("settings: Config.MaxStaleness is %v; it must be at least twice the TTL of %v", c.MaxStaleness, ttl)
	}
	e := &Engine{
		pool:         c.Pool,
		ttl:          ttl,
		log:          c.Log,
		before:       c.Before,
		lastGood:     c.LastGoodFile,
		maxStaleness: c.MaxStaleness,
		initial:      c.Maintenance,
		problems:     map[string]string{},
	}
	if e.log == nil {
		e.log = zap.NewNop()
	}
	source := SourceDefault
	if c.Maintenance != nil {
		source = SourceEnvironment
	}
	first := newSnapshot(0, source, nil, nil)
	first.maintenance.Enabled = c.Maintenance != nil && *c.Maintenance
	e.state.Store(&state{first, make(chan struct{})})
	e.metrics = newMetrics(e, c.Registerer)
	e.member = newMember(e, c)
	e.poller = newPoller(e)
	e.lookout = newLookout(e)
	if c.Listen != nil {
		e.listener = newListener(e, c.Listen)
	}
	return e, nil
}

// Run keeps the snapshot in step until ctx ends, and then returns nil. No fault
// of the database ends it: it goes on trying, and says so in the log, in the
// metrics and in [Engine.Status]. Only Config.Before can end it with an error.
func (e *Engine) Run(ctx context.Context) error {
	if e.running.Swap(true) {
		return errors.New("settings: Run was called twice")
	}
	e.loadLastGood()
	group, ctx := errgroup.WithContext(ctx)
	if e.lastGood != "" {
		group.Go(func() error { e.keepLastGood(ctx); return nil })
	}
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
	e.problem("schema", text, err)
}

// Current is the snapshot that is in force: one pointer load.
func (e *Engine) Current() *Snapshot { return e.state.Load().snap }

// Maintenance is the maintenance that is in force. The caller must not change
// it.
func (e *Engine) Maintenance() *Maintenance { return &e.state.Load().snap.maintenance }

// Watch yields the current snapshot, and then each newer one until ctx ends or
// the caller stops. A slow caller misses snapshots, never the latest.
func (e *Engine) Watch(ctx context.Context) iter.Seq[*Snapshot] {
	return func(yield func(*Snapshot) bool) {
		for {
			s := e.state.Load()
			if !yield(s.snap) {
				return
			}
			select {
			case <-s.superseded:
			case <-ctx.Done():
				return
			}
		}
	}
}

// Ready waits for the first snapshot from the database. It returns the cause of
// ctx's end if that comes first.
func (e *Engine) Ready(ctx context.Context) error {
	for s := range e.Watch(ctx) {
		if s.source == SourceDatabase {
			return nil
		}
	}
	return context.Cause(ctx)
}

// announceWait is how long Await trusts the listener before it has the poller
// look.
const announceWait = 100 * time.Millisecond

// Await waits until a revision is in force on this pod. It returns the cause of
// ctx's end if that comes first.
func (e *Engine) Await(ctx context.Context, revision Revision) error {
	look := time.AfterFunc(announceWait, e.poller.refresh)
	defer look.Stop()
	if !e.listening() {
		e.poller.refresh()
	}
	for s := range e.Watch(ctx) {
		if s.source == SourceDatabase && s.revision >= revision {
			return nil
		}
	}
	return context.Cause(ctx)
}

func (e *Engine) listening() bool { return e.listener != nil && e.listener.live.Load() }

// publish makes a snapshot the current one and wakes who waits for it. The caller
// holds writing (but for New's handles, before anything runs).
func (e *Engine) publish(s *Snapshot) {
	old := e.state.Swap(&state{s, make(chan struct{})})
	close(old.superseded)
	e.poller.owe()
}

// confirm notes that the database confirmed the snapshot as of a time: when the
// query began, for its answer may have waited in a buffer of a pod that was
// stopped. A notification may too, so commits confirm nothing.
func (e *Engine) confirm(asOf time.Time) { e.confirmed.Store(&asOf) }
