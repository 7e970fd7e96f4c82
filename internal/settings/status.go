package settings

import (
	"maps"
	"slices"
	"time"
)

// Status is how an engine is doing.
type Status struct {
	Source   Source
	Revision Revision

	// Age is the time since the database last confirmed the snapshot, by a
	// commit, a read or a poll. Zero before the first.
	Age time.Duration

	// Listener is "live", "connecting", or "polling" where changes arrive by
	// the poll alone.
	Listener string

	// Problems are what is wrong, in words; none while all is well.
	Problems []string
}

// Status tells how the engine is doing now.
func (e *Engine) Status() Status {
	current := e.Current()
	s := Status{Source: current.source, Revision: current.revision, Listener: "connecting"}
	if at := e.confirmed.Load(); at != 0 {
		s.Age = time.Since(time.Unix(0, at))
	}
	switch {
	case e.listening():
		s.Listener = "live"
	case e.poller.working.Load():
		s.Listener = "polling"
	}
	if s.Source != SourceDatabase {
		s.Problems = append(s.Problems, "the settings have not been read from the database yet")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, topic := range slices.Sorted(maps.Keys(e.problems)) {
		s.Problems = append(s.Problems, topic+": "+e.problems[topic])
	}
	return s
}
