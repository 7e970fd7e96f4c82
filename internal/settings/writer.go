package settings

import (
	"time"

	"go.uber.org/zap"
)

// reading is a full read of the table.
type reading struct {
	revision Revision
	settings map[string]*Setting
	at       *time.Time // when the last commit was made
	began    time.Time
	base     *Snapshot  // the current one then
	baseAt   *time.Time // when the commit was made that has its revision here
	heard    bool       // on the listener's own connection
}

// apply puts a commit in force, on the goroutine that heard it: every hop to
// another is one that each pod of the fleet makes at the same moment.
func (e *Engine) apply(c *commit) {
	e.writing.Lock()
	defer e.writing.Unlock()
	current := e.Current()
	switch {
	case current.source == SourceDatabase && c.revision == current.revision+1 && c.changes != nil:
		e.metrics.commits.Inc() // first: who sees it in force finds it counted
		e.publish(current.with(c, e.slots))
		e.metrics.observeDelay(c.at)
		e.checkKinds()
	case current.source == SourceDatabase && c.revision <= current.revision:
		e.metrics.old.Inc()
	default: // a gap, or too large to carry
		e.metrics.gaps.Inc()
		e.poller.refresh()
	}
	if c.awaited {
		e.poller.awaited.Store(int64(c.revision)) // last: an acknowledgement before this may not have it yet
		if e.Current().revision >= c.revision {
			e.poller.owe()
		}
	}
}

// adopt puts a full read in force, if it is news. A read takes time, and commits
// may have been applied meanwhile: base, the snapshot when the read began, tells
// an answer that is merely late from a database that went back.
func (e *Engine) adopt(r *reading) {
	e.writing.Lock()
	defer e.writing.Unlock()
	current := e.Current()
	next := newSnapshot(r.revision, SourceDatabase, r.settings, e.slots)
	next.at, next.lineage = orZero(r.at), current.lineage
	other := r.base.differs(r.baseAt)

	switch {
	case current.source != SourceDatabase:
		e.log.Info("settings read from the database",
			zap.Int64("revision", int64(next.revision)), zap.Int("settings", next.Len()))
		if other || next.revision < current.revision {
			e.wentBack(next, current, r.heard)
		}
		if e.initial != nil && *e.initial != next.maintenance.Enabled {
			e.log.Warn("MAINTENANCE_MODE differs from the database; the database decides",
				zap.Bool("MAINTENANCE_MODE", *e.initial), zap.Bool("maintenance_mode", next.maintenance.Enabled))
		}
	case current.lineage != r.base.lineage:
		e.poller.refresh() // the database went back during the read: which side of it was read?
		return
	case other && current != r.base:
		e.poller.refresh() // the same question
		return
	case other:
		e.wentBack(next, current, r.heard)
	case next.revision > current.revision:
		e.metrics.repairs.WithLabelValues("behind").Inc()
	case next.revision >= r.base.revision && current != r.base:
		e.confirm(r.began) // late: all that it holds is in force, and newer commits
		return
	case next.revision == current.revision:
		if next.digest == current.digest {
			e.confirm(r.began)
			return
		}
		e.metrics.repairs.WithLabelValues("unannounced").Inc()
		e.log.Warn("rows changed without a commit being numbered; adopted what the table holds. Are the triggers on?",
			zap.Int64("revision", int64(next.revision)))
	case current != r.base:
		e.poller.refresh() // older than what was known when the read began: look again before believing it
		return
	default:
		e.wentBack(next, current, r.heard)
	}
	e.publish(next)
	e.confirm(r.began)
	e.checkKinds()
}

// wentBack says aloud that the database is not the one whose commits the pod has
// seen: it lost some, and may have given their revisions to others since. A
// listener that has not heard it itself may still be connected to the old one.
func (e *Engine) wentBack(next, current *Snapshot, heard bool) {
	next.lineage++
	e.metrics.repairs.WithLabelValues("went_back").Inc()
	e.log.Warn("the database went back; adopted what it holds now. Commits were lost, as in a failover to a standby that lagged",
		zap.Int64("revision", int64(next.revision)), zap.Int64("was", int64(current.revision)))
	if e.listener != nil && !heard {
		e.listener.restart(errWentBack)
	}
}
