package settings

import (
	"time"

	"platform-settings/settings"
)

// wait is one caller who waits for a report. Its lookout ends it; until then the
// fields are under the lookout's lock.
type wait struct {
	revision settings.Revision // 0: the last one
	written  bool              // a write on this pod has returned the revision just now
	hurried  bool              // the next report is the last

	began time.Time
	after int64 // how many looks had begun before it, none of which it believes

	last       *look           // the last one that it believes; nil: none yet
	writtenOff map[string]bool // the pods that were lost when it began; nil: not known yet
	asked      bool            // the database has been asked when the revision was committed
	committed  time.Time       // when that was; zero: not known
	heldUp     bool            // by a pod, at some look
	over       chan struct{}   // closed when last is final
}

// wants says whether the next look is to tell when the revision was committed.
func (w *wait) wants() bool { return !w.asked && w.revision != 0 && !w.hurried }

// see takes a look in and says whether it ends the wait.
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

// took is how long the revision took from COMMIT until the last look, at which the
// fleet had it; false if the wait does not tell. A wait that nothing held up began
// too late to tell, unless it is that of the write itself, and that has not merely
// found an older commit to be what it wants.
func (w *wait) took() (time.Duration, bool) {
	if w.committed.IsZero() || w.last.err != nil || w.last.lacks(w.revision) || w.last.holdUp(w.revision, nil) {
		return 0, false
	}
	took := w.last.at.Sub(w.committed)
	return took, w.heldUp || w.written && took <= inForceTimeout
}
