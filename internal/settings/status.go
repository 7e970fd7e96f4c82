package settings

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

// Status is how an engine is doing.
type Status struct {
	Source   Source
	Revision Revision

	// Age is the time since the database last confirmed the snapshot, by a poll
	// or a full read: at most a TTL and a little while all is well. Zero before
	// the first.
	Age time.Duration

	// Listener is "live", "connecting", or "polling" where changes arrive by
	// the poll alone.
	Listener string

	// Problems are what is wrong, in words; none while all is well.
	Problems []string
}

// Status tells how the engine is doing now.
func (e *Engine) Status() Status {
	e.checkStale() // the poller's own look may be a retry away
	current := e.Current()
	s := Status{Source: current.source, Revision: current.revision, Listener: e.listenerState()}
	if at := e.confirmed.Load(); at != nil {
		s.Age = since(*at)
	}
	if s.Source != SourceDatabase {
		s.Problems = append(s.Problems, "the settings have not been read from the database yet")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.listener != nil && !e.listening() && e.problems["listener"] == "" {
		s.Problems = append(s.Problems, "listener: not listening yet, changes arrive by the poll alone")
	}
	for _, topic := range slices.Sorted(maps.Keys(e.problems)) {
		s.Problems = append(s.Problems, topic+": "+e.problems[topic])
	}
	return s
}

func (e *Engine) listenerState() string {
	switch {
	case e.listening():
		return "live"
	case e.poller.working.Load():
		return "polling"
	}
	return "connecting"
}

// since is the time that has passed, by the clock that shows more of it: the
// monotonic one may stand still while a machine sleeps, the other may be set
// back.
func since(t time.Time) time.Duration {
	now := time.Now()
	return max(now.Sub(t), now.Round(0).Sub(t.Round(0)))
}

// Stale says whether the database has not confirmed the snapshot for longer than
// Config.MaxStaleness, or never did since the start: what a pod that was cut off
// serves may be old. Always false where that is 0, and then without a clock.
func (e *Engine) Stale() bool {
	if e.maxStaleness == 0 {
		return false
	}
	at := e.confirmed.Load()
	return at == nil || since(*at) > e.maxStaleness
}

// checkStale reports when the snapshot becomes stale, and when it no longer is.
func (e *Engine) checkStale() {
	text := ""
	if e.Stale() {
		text = "not confirmed by the database for longer than MAX_STALENESS: this pod has closed its gate"
	}
	e.problem("staleness", text, nil)
}

// checkKinds reports handles whose setting is of another kind than the code
// asks for: they read as their fallback.
func (e *Engine) checkKinds() {
	if len(e.slots) == 0 {
		return
	}
	var wrong []string
	current := e.Current()
	for i, slot := range e.slots {
		if s := current.Lookup(slot.key); s != nil && current.slots[i] == nil {
			wrong = append(wrong, fmt.Sprintf("setting %q is of kind %s, the program expects %s", slot.key, s.Value.kind, slot.kind))
		}
	}
	e.problem("kinds", strings.Join(wrong, "; "), nil)
}

// problem sets what is wrong with a topic, "" for nothing. It is logged when it
// begins, when it becomes another, and when it ends, not on each repetition; so
// the text says only what is wrong, and cause, which may differ each time, the
// rest.
func (e *Engine) problem(topic, text string, cause error) {
	e.mu.Lock()
	old := e.problems[topic]
	if text == "" {
		delete(e.problems, topic)
	} else {
		e.problems[topic] = text
	}
	e.mu.Unlock()
	switch {
	case text == old:
	case text == "":
		e.log.Info("recovered", zap.String("topic", topic), zap.String("was", old))
	default:
		e.log.Warn("degraded", zap.String("topic", topic), zap.String("problem", text), zap.Error(cause))
	}
}

func (e *Engine) problemWith(topic string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.problems[topic] != ""
}
