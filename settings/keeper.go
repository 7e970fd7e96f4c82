package settings

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Config is what a keeper needs. The zero Config is usable.
type Config struct {
	// Maintenance is the switch until a source or the last-good file is read.
	// Nil: off.
	Maintenance *bool

	// MaxStaleness is how long after the last confirmation [Keeper.Stale] reports
	// the snapshot as stale. 0: never.
	MaxStaleness time.Duration

	// LastGoodFile is where the last snapshot from the source is kept. It holds
	// settings that are not public, and only its owner can read it. Empty: none.
	LastGoodFile string

	// Log gets transitions, not retries. Nil: nothing is logged.
	Log *zap.Logger

	// Registerer gets the metrics. Nil: they are kept, but not registered.
	Registerer prometheus.Registerer
}

// Keeper holds the snapshot that is in force, and alone makes the next one: from
// the commits and readings that a source hands it. It answers each with a
// [Verdict] and calls nobody back. Read from any goroutine at any time.
type Keeper struct {
	log          *zap.Logger
	metrics      *metrics
	initial      *bool // Config.Maintenance
	maxStaleness time.Duration
	lastGood     string // the file; "": none

	slots  []slotKey   // what the handles read; fixed once sealed
	sealed atomic.Bool // no more handles are made

	making    sync.Mutex // held while the next state is made from the current one
	state     atomic.Pointer[state]
	confirmed atomic.Pointer[time.Time] // as of when the source last confirmed the snapshot
	trail     [trailLength]time.Time    // when the last commits that came into force were made, by revision; see making

	problems problems
}

// trailLength is how many commits may overtake an answer that is to be believed.
const trailLength = 64

// state is what readers load: a snapshot, and a channel that is closed when it is
// no longer the current one.
type state struct {
	snap       *Snapshot
	superseded chan struct{}
}

// NewKeeper does no I/O and starts nothing.
func NewKeeper(c Config) *Keeper {
	k := &Keeper{log: c.Log, initial: c.Maintenance, maxStaleness: c.MaxStaleness, lastGood: c.LastGoodFile}
	if k.log == nil {
		k.log = zap.NewNop()
	}
	k.problems.log = k.log
	source := SourceDefault
	if c.Maintenance != nil {
		source = SourceEnvironment
	}
	first := newSnapshot(0, source, nil, nil)
	first.maintenance.Enabled = c.Maintenance != nil && *c.Maintenance
	k.state.Store(&state{first, make(chan struct{})})
	k.metrics = newMetrics(k, c.Registerer)
	return k
}

// Current is the snapshot that is in force: one pointer load.
func (k *Keeper) Current() *Snapshot { return k.state.Load().snap }

// Maintenance is the maintenance that is in force. The caller must not change
// it.
func (k *Keeper) Maintenance() *Maintenance { return &k.state.Load().snap.maintenance }

// Watch yields the current snapshot, and then each newer one until ctx ends or
// the caller stops. A slow caller misses snapshots, never the latest.
func (k *Keeper) Watch(ctx context.Context) iter.Seq[*Snapshot] {
	return func(yield func(*Snapshot) bool) {
		for {
			s := k.state.Load()
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

// Ready waits for the first snapshot from the source. It returns the cause of
// ctx's end if that comes first.
func (k *Keeper) Ready(ctx context.Context) error { return k.Reached(ctx, 0) }

// Reached waits until a revision that the source has is in force. It returns the
// cause of ctx's end if that comes first.
func (k *Keeper) Reached(ctx context.Context, r Revision) error {
	for s := range k.Watch(ctx) {
		if s.source == SourceDatabase && s.revision >= r {
			return nil
		}
	}
	return context.Cause(ctx)
}

// Begin is called before the source is asked.
func (k *Keeper) Begin() Base { return Base{k.Current(), time.Now()} }

// Apply puts a commit in force if it is the next one: then the verdict is
// [Applied], else [Old] or [Gap]. It runs on the goroutine that heard the commit:
// every hop to another is one that each pod of the fleet makes at the same moment.
func (k *Keeper) Apply(c *Commit) Verdict {
	k.making.Lock()
	defer k.making.Unlock()
	now := k.Current()
	switch {
	case now.source != SourceDatabase || c.Lineage != now.lineage:
		return Gap
	case c.Revision <= now.revision:
		return Old
	case c.Revision != now.revision+1 || c.Changes == nil:
		return Gap
	}
	k.metrics.commits.Inc() // first: whoever sees it in force finds it counted
	k.publish(now.with(c, k.slots))
	k.metrics.observeDelay(c.At)
	k.checkKinds()
	return Applied
}

// Compare holds the source's head against what is in force: [Same] and [Late]
// confirm that, [AskAgain] asks for a reading.
func (k *Keeper) Compare(h Head) Verdict {
	k.making.Lock()
	defer k.making.Unlock()
	now := k.Current()
	verdict := AskAgain
	switch {
	case now.source != SourceDatabase:
	case now != h.Base.snapshot:
		verdict = k.overtaken(h)
	case h.Revision == now.revision && h.Digest == now.digest:
		verdict = Same
	}
	if verdict != AskAgain {
		k.confirm(h.Base)
	}
	return verdict
}

// Adopt puts a reading in force if it is news: then the verdict is [Adopted] or
// [WentBack], else [Same], [Late] or [AskAgain].
func (k *Keeper) Adopt(r *Reading) Verdict {
	k.making.Lock()
	defer k.making.Unlock()
	now := k.Current()
	next := newSnapshot(r.Revision, SourceDatabase, r.Settings, k.slots)
	next.at, next.lineage = r.At, now.lineage
	r.Digest = next.digest
	verdict := k.judge(now, r)
	switch verdict {
	case AskAgain:
		return verdict
	case Same, Late:
		k.confirm(r.Base)
		return verdict
	case WentBack:
		next.lineage++
		k.trail = [trailLength]time.Time{}
	}
	k.report(verdict, now, next)
	k.publish(next)
	k.confirm(r.Base)
	k.checkKinds()
	return verdict
}

// judge compares a reading with what is in force.
func (k *Keeper) judge(now *Snapshot, r *Reading) Verdict {
	other := r.Base.snapshot.differs(r.BaseAt) // the source has another commit there
	switch {
	case now.source != SourceDatabase:
		if other || r.Revision < now.revision { // than the last-good file's
			return WentBack
		}
		return Adopted
	case now != r.Base.snapshot:
		return k.overtaken(r.Head)
	case other || r.Revision < now.revision:
		return WentBack
	case r.Revision == now.revision && r.Digest == now.digest:
		return Same
	}
	return Adopted
}

// overtaken is the verdict on an answer after which something was put in force
// that the base does not have. It may be believed only if what it holds is known
// to be in force: anything else may be what the database did after it went back.
func (k *Keeper) overtaken(h Head) Verdict {
	at := k.trail[h.Revision%trailLength]
	if h.Revision >= h.Base.snapshot.revision && !at.IsZero() && at.Equal(h.At) {
		return Late
	}
	return AskAgain
}

// report logs and counts what a reading changes. Losing commits is never silent.
func (k *Keeper) report(verdict Verdict, now, next *Snapshot) {
	if now.source != SourceDatabase {
		k.log.Info("settings read from the database",
			zap.Int64("revision", int64(next.revision)), zap.Int("settings", next.Len()))
	}
	switch {
	case verdict == WentBack:
		k.metrics.repairs.WithLabelValues("went_back").Inc()
		k.log.Warn("the database went back; adopted what it holds now. Commits were lost, as in a failover to a standby that lagged",
			zap.Int64("revision", int64(next.revision)), zap.Int64("was", int64(now.revision)))
	case now.source != SourceDatabase:
	case next.revision > now.revision:
		k.metrics.repairs.WithLabelValues("behind").Inc()
	default:
		k.metrics.repairs.WithLabelValues("unannounced").Inc()
		k.log.Warn("rows changed without a commit being numbered; adopted what the table holds. Are the triggers on?",
			zap.Int64("revision", int64(next.revision)))
	}
	if now.source != SourceDatabase && k.initial != nil && *k.initial != next.maintenance.Enabled {
		k.log.Warn("MAINTENANCE_MODE differs from the database; the database decides",
			zap.Bool("MAINTENANCE_MODE", *k.initial), zap.Bool("maintenance_mode", next.maintenance.Enabled))
	}
}

// publish makes a snapshot the current one and wakes whoever waits for it. The
// caller holds making, or nothing runs yet.
func (k *Keeper) publish(s *Snapshot) {
	k.trail[s.revision%trailLength] = s.at
	old := k.state.Swap(&state{s, make(chan struct{})})
	close(old.superseded)
}

// confirm notes that the source confirmed the snapshot as of when it was asked:
// its answer may have waited in a buffer of a pod that was stopped. So may a
// notification, so commits confirm nothing. The caller holds making.
func (k *Keeper) confirm(b Base) {
	if b.began.After(k.Confirmed()) {
		k.confirmed.Store(&b.began)
	}
}
