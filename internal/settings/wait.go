package settings

import (
	"time"

	"platform-settings/settings"
)

// wait is one caller's wait for a report. The lookout ends it. Until then, the lookout's
// lock guards its fields.
type wait struct {
	revision settings.Revision // 0: the last one
	written  bool              // a write on this pod has just returned the revision
	hurried  bool              // the next look ends it

	began time.Time
	after int64 // how many looks had begun before it; it believes none of those

	last       *look           // the last look that it believes; nil: none yet
	writtenOff map[string]bool // instances that were lost when it began; nil: not known yet
	asked      bool            // committed has been asked for
	committed  time.Time       // when the revision was committed; zero: not known
	heldUp     bool            // at some look, a pod did not have the revision
	over       chan struct{}   // closed when last is final
}

// wants says whether the next look should ask when the revision was committed.
func (w *wait) wants() bool { return !w.asked && w.revision != 0 && !w.hurried }

// see takes a look, and says whether it ends the wait.
func (w *wait) see(found *look) (over bool) {
	if w.wants() && !found.at.IsZero() {
		w.asked, w.committed = true, found.times[w.revision]
	}
	w.last = found
	if found.lacks(w.revision) {
		return true
	}
	if found.err == nil {
		if w.writtenOff == nil {
			w.writtenOff = found.lost
		}
		if !found.holdUp(w.revision, w.writtenOff) {
			return true
		}
		w.heldUp = true
	}
	return w.hurried
}

// took is how long the revision took from COMMIT until the look at which the whole fleet
// had it. It is false if the wait cannot say. If no look found a pod without the
// revision, the wait may have begun long after the fleet had it. Only the wait of the
// write itself can say then, unless the write changed nothing and returned an old
// revision.
func (w *wait) took() (time.Duration, bool) {
	if w.committed.IsZero() || w.last.err != nil || w.last.lacks(w.revision) || w.last.holdUp(w.revision, nil) {
		return 0, false
	}
	took := w.last.at.Sub(w.committed)
	return took, w.heldUp || w.written && took <= inForceTimeout
}
