package settings

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// inboxSize lets the listener hand over a burst without waiting for the writer,
// who then applies it in one go.
const inboxSize = 256

// event is what the writer gets: a commit from the listener, or a reading.
type event struct {
	commit  *commit
	reading *reading
}

// reading is a full read of the table.
type reading struct {
	revision Revision
	settings map[string]*Setting
	at       *time.Time // when the last commit was made
	began    time.Time
	base     *Snapshot     // the current one then
	baseAt   *time.Time    // when the commit was made that has its revision here
	heard    bool          // on the listener's own connection
	adopted  chan struct{} // closed when the writer has dealt with it
}

// send hands an event to the writer; false if ctx ended first.
func (e *Engine) send(ctx context.Context, ev event) bool {
	select { // there is nearly always room: no need to wait for two things
	case e.inbox <- ev:
		return true
	default:
	}
	select {
	case e.inbox <- ev:
		return true
	case <-ctx.Done():
		return false
	}
}

// write is the one writer of the snapshot.
func (e *Engine) write(ctx context.Context) {
	for {
		var ev event
		select {
		case ev = <-e.inbox:
		case <-ctx.Done():
			return
		}
		for more := true; more; {
			if ev.reading != nil {
				e.adopt(ev.reading)
				more = false
				continue
			}
			ev, more = e.apply(ev.commit)
		}
	}
}

// apply puts a commit in force, and with it the ones that wait right behind it
// in the inbox: one copy of the map for a burst. It returns the event that ended
// the burst, if there was one.
func (e *Engine) apply(first *commit) (next event, more bool) {
	current := e.Current()
	revision, at, c := current.revision, current.at, first
	var changes []change
	for {
		switch {
		case current.source == SourceDatabase && c.revision == revision+1 && c.changes != nil:
			revision, at = c.revision, c.at
			changes = append(changes, c.changes...)
			e.metrics.commits.Inc()
			e.metrics.observeDelay(c.at)
		case current.source == SourceDatabase && c.revision <= revision:
			e.metrics.old.Inc()
		default: // a gap, or too large to carry
			e.metrics.gaps.Inc()
			e.poller.refresh()
		}
		select {
		case next = <-e.inbox:
			if next.commit != nil {
				c = next.commit
				continue
			}
			more = true
		default:
		}
		break
	}
	if revision != current.revision {
		e.publish(current.with(revision, at, changes, e.slots))
		e.checkKinds()
	}
	return next, more
}

// adopt puts a full read in force, if it is news. A read takes time, and commits
// may have been applied meanwhile: base, the snapshot when the read began, tells
// an answer that is merely late from a database that went back.
func (e *Engine) adopt(r *reading) {
	defer close(r.adopted)
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
