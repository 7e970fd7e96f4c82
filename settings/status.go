package settings

import (
	"fmt"
	"strings"
	"time"
)

// Status is how a keeper and its source are doing.
type Status struct {
	Source   Source
	Revision Revision

	// Age is the time since the source last confirmed the snapshot. Zero before
	// the first time.
	Age time.Duration

	// Listener is "live", "connecting", or "polling" if changes arrive by the poll
	// alone.
	Listener string

	// Problems are what is wrong, in words; none while all is well.
	Problems []string
}

// Status reports how the keeper is doing now. It knows nothing of the listener.
func (k *Keeper) Status() Status {
	k.CheckStale() // the source's own check may be a retry away
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

// Problem sets what is wrong with a topic, "" for nothing. The text holds nothing
// secret, and nothing that differs from one repetition to the next; cause, which
// may differ, is for the log. Only transitions are logged.
func (k *Keeper) Problem(topic, text string, cause error) { k.problems.set(topic, text, cause) }

// HasProblem says whether anything is wrong with a topic.
func (k *Keeper) HasProblem(topic string) bool { return k.problems.has(topic) }

// Confirmed is as of when the source last confirmed the snapshot; zero: never.
func (k *Keeper) Confirmed() time.Time {
	if at := k.confirmed.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

// Stale says whether the source has not confirmed the snapshot for longer than
// Config.MaxStaleness, or never has: what a pod that was cut off serves may be
// old. Always false if that is 0, and then without a clock.
func (k *Keeper) Stale() bool {
	if k.maxStaleness == 0 {
		return false
	}
	at := k.Confirmed()
	return at.IsZero() || since(at) > k.maxStaleness
}

// since is the time that has passed, by the clock that shows more of it: the
// monotonic one may stop while a machine sleeps, the other may be set back.
func since(t time.Time) time.Duration {
	now := time.Now()
	return max(now.Sub(t), now.Round(0).Sub(t.Round(0)))
}

// CheckStale reports when the snapshot becomes stale, and when it no longer is. A
// source calls it whenever it has asked.
func (k *Keeper) CheckStale() {
	text := ""
	if k.Stale() {
		text = "not confirmed by the database for longer than MAX_STALENESS: this pod has closed its gate"
	}
	k.Problem("staleness", text, nil)
}

// checkKinds reports handles whose setting is of another kind than the code asks
// for: they read as their fallback.
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
