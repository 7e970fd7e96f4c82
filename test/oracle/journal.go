package oracle

import (
	"crypto/sha256"
	"fmt"
	"sync"
	"time"
)

// journal records what a round did and saw.
type journal struct {
	began  time.Time
	failed chan struct{} // closed at the first violation

	mu         sync.Mutex
	lines      []string // the schedule as it went, by when each step ended
	violations []string
	writes     []*write
	faults     map[kind]int
	reads      int
	gates      int
	caughtUp   time.Duration                // how long the last pod took at the end
	states     map[[sha256.Size]byte]served // by the hash of the answer's body
	sightings  map[sighting]time.Duration   // when it was first seen
}

// write is a write that was attempted, and its outcome.
type write struct {
	tag, does    string
	began, ended time.Duration
	outcome      outcome
	why          string // an error or status, for people

	sure     bool                // if it landed, the history must have it
	revision int64               // as answered; 0: SQL writers get no revision
	rows     map[string]*setting // if it landed: the keys that it had locked at COMMIT, as it saw them; nil: no such setting
	whole    bool                // rows is the whole table
	was      *int64              // the revision that it required the setting to have; 0: none must exist
	key      string              // that setting
}

type outcome string

const (
	landed  outcome = "landed"
	nothing outcome = "nothing was changed"
	unknown outcome = "unknown"
)

// served is a whole state that was shown to somebody.
type served struct {
	revision int64
	settings state
}

// sighting is a state as shown by one process or by the table.
type sighting struct {
	who  string
	body [sha256.Size]byte
}

func newJournal() *journal {
	return &journal{
		began: time.Now(), failed: make(chan struct{}), faults: map[kind]int{},
		states: map[[sha256.Size]byte]served{}, sightings: map[sighting]time.Duration{},
	}
}

// now is the time since the round began.
func (j *journal) now() time.Duration { return time.Since(j.began) }

func (j *journal) note(format string, args ...any) {
	line := fmt.Sprintf("%8.3f ", j.now().Seconds()) + fmt.Sprintf(format, args...)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

// violation records something that must never happen, and ends the round.
func (j *journal) violation(format string, args ...any) {
	text := fmt.Sprintf("%8.3f ", j.now().Seconds()) + fmt.Sprintf(format, args...)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, text)
	if j.violations = append(j.violations, text); len(j.violations) == 1 {
		close(j.failed)
	}
}

func (j *journal) fault(who string, f fault) {
	j.note("%s: %v", who, f)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.faults[f.kind]++
}

func (j *journal) wrote(w *write) {
	w.ended = j.now()
	j.note("%s since %.3f: %s %s (revision %d)", w.does, w.began.Seconds(), w.outcome, w.why, w.revision)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.writes = append(j.writes, w)
}

// saw records a state that was shown to somebody. Each distinct body is parsed once.
func (j *journal) saw(who string, body []byte, parse func([]byte) (int64, state, error)) (served, error) {
	sum := sha256.Sum256(body)
	j.mu.Lock()
	s, known := j.states[sum]
	j.mu.Unlock()
	if !known {
		var err error
		if s.revision, s.settings, err = parse(body); err != nil {
			return served{}, err
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.reads++
	j.states[sum] = s
	if _, again := j.sightings[sighting{who, sum}]; !again {
		j.sightings[sighting{who, sum}] = j.now()
	}
	return s, nil
}
