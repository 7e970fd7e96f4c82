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

	// MaxStaleness is how long a snapshot may go unconfirmed until [Keeper.Stale]
	// reports it. 0: it is never stale.
	MaxStaleness time.Duration

	// LastGoodFile is the path of the file that keeps the last snapshot from the
	// source. The file holds settings that are not public too, so only its owner can
	// read it. Empty: there is no file.
	LastGoodFile string

	// Log receives transitions, but not each retry. Nil: nothing is logged.
	Log *zap.Logger

	// Registerer registers the metrics. Nil: they are counted, but not registered.
	Registerer prometheus.Registerer
}

// Keeper holds the snapshot that is in force. It makes the next one from the commits
// and readings that a source hands it; nothing else makes snapshots. It answers each
// with a [Verdict], and calls nobody back. Any goroutine may use it at any time.
type Keeper struct {
	log          *zap.Logger
	metrics      *metrics
	initial      *bool // Config.Maintenance
	maxStaleness time.Duration
	lastGood     string // the file's path; "": none

	slots  []slotKey   // what the handles read; fixed once sealed
	sealed atomic.Bool // no more handles can be made

	making    sync.Mutex // guards everything between reading the current state and publishing the next
	state     atomic.Pointer[state]
	confirmed atomic.Pointer[time.Time] // as of when the source last confirmed the snapshot
	trail     [trailLength]time.Time    // the times of the last commits in force, by revision; guarded by making

	problems problems
}

// trailLength is how many commits may overtake an answer that is still believed.
const trailLength = 64

// state is what readers load: a snapshot, and a channel that is closed when another
// snapshot has replaced it.
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

// Current is the snapshot that is in force. It costs one pointer load.
func (k *Keeper) Current() *Snapshot { return k.state.Load().snap }

// Maintenance is the maintenance that is in force. The caller must not change
// it.
func (k *Keeper) Maintenance() *Maintenance { return &k.state.Load().snap.maintenance }

// Watch yields the current snapshot, and then each newer one until ctx ends or
// the caller stops. A slow caller may miss snapshots in between, but not the latest.
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

// Ready waits for the first snapshot from the source. If ctx ends first, it returns
// the cause ([context.Cause]).
func (k *Keeper) Ready(ctx context.Context) error { return k.Reached(ctx, 0) }

// Reached waits until a snapshot from the source with this revision, or a higher one,
// is in force. If ctx ends first, it returns the cause ([context.Cause]).
func (k *Keeper) Reached(ctx context.Context, r Revision) error {
	for s := range k.Watch(ctx) {
		if s.source == SourceDatabase && s.revision >= r {
			return nil
		}
	}
	return context.Cause(ctx)
}

// Begin returns the base for a question to the source. Call it before asking.
func (k *Keeper) Begin() Base { return Base{k.Current(), time.Now()} }

// Apply puts a commit in force if it is the next one; the verdict is then [Applied],
// and otherwise [Old] or [Gap]. It runs on the goroutine that heard the commit. All
// pods apply a commit at the same moment, so a switch to another goroutine would add up.
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
	k.metrics.commits.Inc() // before it is in force, so that nobody sees it uncounted
	k.publish(now.with(c, k.slots))
	k.metrics.observeDelay(c.At)
	k.checkKinds()
	return Applied
}

// Compare compares the source's head with what is in force. [Same] and [Late] confirm
// the snapshot; [AskAgain] means that a reading is needed.
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

// Adopt puts a reading in force if it is new; the verdict is then [Adopted] or
// [WentBack], and otherwise [Same], [Late] or [AskAgain].
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
	other := r.Base.snapshot.differs(r.BaseAt) // the source has another commit with the base's revision
	switch {
	case now.source != SourceDatabase:
		if other || r.Revision < now.revision { // compared with the last-good file
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

// overtaken is the verdict if something came into force while the answer was on its
// way. The answer is believed only if its last commit is known to be in force: any
// other may have been made after the database went back.
func (k *Keeper) overtaken(h Head) Verdict {
	at := k.trail[h.Revision%trailLength]
	if h.Revision >= h.Base.snapshot.revision && !at.IsZero() && at.Equal(h.At) {
		return Late
	}
	return AskAgain
}

// report logs and counts what a reading changes. Lost commits are always logged.
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

// publish makes a snapshot the current one and wakes those who watch. The caller holds
// making, unless nothing runs yet.
func (k *Keeper) publish(s *Snapshot) {
	k.trail[s.revision%trailLength] = s.at
	old := k.state.Swap(&state{s, make(chan struct{})})
	close(old.superseded)
}

// confirm records that the source confirmed the snapshot, as of when it was asked. The
// answer itself may have waited in a buffer while the pod was stopped. A notification
// may have too, so commits confirm nothing. The caller holds making.
func (k *Keeper) confirm(b Base) {
	if b.began.After(k.Confirmed()) {
		k.confirmed.Store(&b.began)
	}
}
