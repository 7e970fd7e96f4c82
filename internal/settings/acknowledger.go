package settings

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"platform-settings/settings"
)

// Acknowledgements are spread over a window that grows with the fleet. Otherwise they
// would compete for the processor with notifications that other pods still wait for.
const (
	acknowledgeShare = 100 * time.Microsecond // by this much for each pod
	leastSpread      = 10 * time.Millisecond
	mostSpread       = 125 * time.Millisecond
)

// After an acknowledgement comes a pause. Commits during it share the next one. So the
// load on the database is bounded: a few hundred acknowledgements a second from the
// whole fleet, and in a flood of commits one from each pod in mostPause.
const (
	acknowledgePause = 2 * time.Millisecond // for each pod
	mostPause        = 2 * time.Second
)

// acknowledger decides when this pod acknowledges what it has in force. It sends
// nothing itself. A nil acknowledger never asks for an acknowledgement.
type acknowledger struct {
	pods  func() int64 // the size of the fleet, at least 1
	timer *time.Timer

	awaited atomic.Int64 // a revision that somebody waits for; 0: none

	mu     sync.Mutex
	dueAt  time.Time     // when the timer fires; zero: it is stopped
	pause  time.Duration // the nominal length of the last pause; its real length is random
	paused time.Time     // when that pause ends
}

func newAcknowledger(pods func() int64) *acknowledger {
	a := &acknowledger{pods: pods, timer: time.NewTimer(time.Hour)}
	a.timer.Stop()
	return a
}

// due delivers when it is time to acknowledge. The receiver then calls begin, and sends
// the acknowledgement.
func (a *acknowledger) due() <-chan time.Time {
	if a == nil {
		return nil
	}
	return a.timer.C
}

// owe asks for an acknowledgement soon. It neither blocks nor wakes anybody, because
// reporting a commit must not slow down applying it.
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

// await records that somebody waits for a revision, so its acknowledgement comes
// without a pause. If the revision is in force already, await asks for one itself,
// because none may be due, or only after a pause.
func (a *acknowledger) await(r, inForce settings.Revision) {
	if a == nil {
		return
	}
	a.awaited.Store(int64(r))
	if inForce >= r {
		a.owe()
	}
}

// begin is called before an acknowledgement is sent, so that a commit that comes into
// force after it asks for another one. It starts the pause. In a flood each pause
// doubles, up to mostPause. It is a flood if the acknowledgement had to wait for the
// end of the last pause.
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

// spread is a random delay within the window.
func (a *acknowledger) spread() time.Duration {
	wait := min(max(leastSpread, time.Duration(a.pods())*acknowledgeShare), mostSpread)
	return wait + rand.N(wait)
}
