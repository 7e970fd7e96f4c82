package settings

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"platform-settings/settings"
)

// Acknowledgements are spread over a window that grows with the fleet, so that
// they do not take the processor from notifications which other pods still wait
// for.
const (
	acknowledgeShare = 100 * time.Microsecond // of the window, for each pod
	leastSpread      = 10 * time.Millisecond
	mostSpread       = 125 * time.Millisecond
)

// After an acknowledgement comes a pause. Commits during it share the next one. So
// a commit now and then costs the fleet some hundred acknowledgements a second,
// however large it is, and commit after commit one for each pod in mostPause.
const (
	acknowledgePause = 2 * time.Millisecond // for each pod
	mostPause        = 2 * time.Second
)

// acknowledger decides when this pod tells the fleet what it has in force. It
// sends nothing itself. A nil acknowledger never asks for one.
type acknowledger struct {
	pods  func() int64 // of the fleet, at least 1
	timer *time.Timer

	awaited atomic.Int64 // the revision whose acknowledgement somebody waits for; 0: none

	mu     sync.Mutex
	dueAt  time.Time     // when the timer fires; zero: it does not
	pause  time.Duration // about how long the pause is that ends at paused
	paused time.Time     // an acknowledgement that nobody waits for is not before
}

func newAcknowledger(pods func() int64) *acknowledger {
	a := &acknowledger{pods: pods, timer: time.NewTimer(time.Hour)}
	a.timer.Stop()
	return a
}

// due is when to acknowledge. Whoever does it calls begin first.
func (a *acknowledger) due() <-chan time.Time {
	if a == nil {
		return nil
	}
	return a.timer.C
}

// owe asks for an acknowledgement, soon. It never blocks, and wakes nobody: what
// is put in force must not be slowed down by reporting it.
func (a *acknowledger) owe() {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	at := time.Now().Add(a.spread())
	if at.Before(a.paused) && a.awaited.Load() == 0 {
		at = a.paused
	}
	if a.dueAt.IsZero() || at.Before(a.dueAt) {
		a.dueAt = at
		a.timer.Reset(time.Until(at))
	}
}

// await notes that somebody waits for a revision's acknowledgement: it comes
// without a pause. If the revision is in force already, the acknowledgement that
// said so may have been before this, so another is owed.
func (a *acknowledger) await(r, inForce settings.Revision) {
	if a == nil {
		return
	}
	a.awaited.Store(int64(r))
	if inForce >= r {
		a.owe()
	}
}

// begin is called when it is due, before the acknowledgement is sent: what
// comes into force from now on asks for another. Each pause doubles while there
// is always a commit that had to wait for its end.
func (a *acknowledger) begin(inForce settings.Revision) {
	a.mu.Lock()
	defer a.mu.Unlock()
	pause := time.Duration(a.pods()) * acknowledgePause
	if a.dueAt.Equal(a.paused) {
		pause = max(pause, 2*a.pause)
	}
	a.pause = min(pause, mostPause)
	a.dueAt, a.paused = time.Time{}, time.Now().Add(a.pause/2+rand.N(a.pause))
	if awaited := a.awaited.Load(); int64(inForce) >= awaited {
		a.awaited.CompareAndSwap(awaited, 0)
	}
}

// spread is how long an acknowledgement waits, by chance.
func (a *acknowledger) spread() time.Duration {
	wait := min(max(leastSpread, time.Duration(a.pods())*acknowledgeShare), mostSpread)
	return wait + rand.N(wait)
}
