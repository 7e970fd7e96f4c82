package settings

import (
	"fmt"
	"strings"
	"time"
)

// Status is the state of a keeper and its source.
type Status struct {
	Source   Source
	Revision Revision

	// Age is the time since the source last confirmed the snapshot. It is zero if it
	// never has.
	Age time.Duration

	// Listener is "live", "connecting", or "polling" if changes arrive by the poll
	// alone.
	Listener string

	// Problems says in words what is wrong now; empty if nothing is.
	Problems []string
}

// Status reports the keeper's state now. It leaves Listener empty.
func (k *Keeper) Status() Status {
	k.CheckStale() // the source's own check may not come before its next retry
	now := k.Current()
	s := Status{Source: now.source, Revision: now.revision}
	if at := k.Confirmed(); !at.IsZero() {
		s.Age = since(at)
	}
	if s.Source != SourceDatabase {
		s.Problems = append(s.Problems, "the settings have not been read from the database yet")
	}
	s.Problems = append(s.Problems, k.problems.list()...)
	return s
}

// Problem reports what is wrong with a topic; "" means nothing. The text must hold
// nothing secret, and be the same as long as the problem is. The cause may differ, and
// is only logged. A problem is logged when it begins, changes or ends.
func (k *Keeper) Problem(topic, text string, cause error) { k.problems.set(topic, text, cause) }

// HasProblem says whether anything is wrong with a topic.
func (k *Keeper) HasProblem(topic string) bool { return k.problems.has(topic) }

// Confirmed is the time as of which the source last confirmed the snapshot; zero: never.
func (k *Keeper) Confirmed() time.Time {
	if at := k.confirmed.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

// Stale says whether the source has not confirmed the snapshot for longer than
// Config.MaxStaleness, or never has: a pod that is cut off may serve old settings. If
// MaxStaleness is 0, it returns false, without reading the clock.
func (k *Keeper) Stale() bool {
	if k.maxStaleness == 0 {
		return false
	}
	at := k.Confirmed()
	return at.IsZero() || since(at) > k.maxStaleness
}

// since is the time since t, by the clock that shows more of it: the monotonic clock
// may stop while a machine sleeps, and the wall clock may be set back.
func since(t time.Time) time.Duration {
	now := time.Now()
	return max(now.Sub(t), now.Round(0).Sub(t.Round(0)))
}

// CheckStale reports a problem while the snapshot is stale. A source calls it after each
// attempt to ask the database.
func (k *Keeper) CheckStale() {
	text := ""
	if k.Stale() {
		text = "not confirmed by the database for longer than MAX_STALENESS: this pod has closed its gate"
	}
	k.Problem("staleness", text, nil)
}

// checkKinds reports handles whose setting is of another kind than the program expects.
// They return their fallback.
func (k *Keeper) checkKinds() {
	if len(k.slots) == 0 {
		return
	}
	var wrong []string
	now := k.Current()
	for i, slot := range k.slots {
		if s := now.Lookup(slot.key); s != nil && now.slots[i] == nil {
			wrong = append(wrong, fmt.Sprintf("setting %q is of kind %s, the program expects %s", slot.key, s.Value.kind, slot.kind))
		}
	}
	k.Problem("kinds", strings.Join(wrong, "; "), nil)
}
