package oracle

import (
	"crypto/sha256"
	"fmt"
	"sync"
	"time"
)

// journal is what a round did and saw.
type journal struct {
	began  time.Time
	failed chan struct{} // closed at the first violation

	mu         sync.Mutex
	lines      []string // the schedule as it went, in the order of the ends
	violations []string
	writes     []*write
	faults     map[kind]int
	reads      int
	gates      int
	caughtUp   time.Duration                // how long the last pod took at the end
	states     map[[sha256.Size]byte]served // by the answer's body
	sightings  map[sighting]time.Duration   // when first
}

// write is one that was asked for, and how it went.
type write struct {
	tag, does    string
	began, ended time.Duration
	outcome      outcome
	why          string // an error or status, for people

	sure     bool                // landed means that the history has it
	revision int64               // as answered; 0: SQL, which is not told
	rows     map[string]*setting // landed: the keys that it held at COMMIT, as they were for it; nil: no such setting
	whole    bool                // rows is the whole table
	was      *int64              // the revision at which it wanted the one setting to stand; 0: not to
	key      string              // that setting
}

type outcome string

const (
	landed  outcome = "landed"
	nothing outcome = "nothing was changed"
	unknown outcome = "unknown"
)

// served is a whole state that somebody was shown.
type served struct {
	revision int64
	settings state
}

// sighting is a state as one saw it.
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

// violation notes that something was seen that must never be, and ends the round.
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

// saw notes a state that somebody was shown. The same body is read once.
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
