package oracle

import (
	"context"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
)

// read asks a process for its whole state, and compares it with what the process has
// shown before. ok is false if it has none to show.
func (j *journal) read(ctx context.Context, l *life) (s served, ok bool) {
	floor := l.floor.Load()
	answer, err := l.ask(ctx, "GET", "/api/v1/settings", "")
	if err != nil || answer.Status == http.StatusServiceUnavailable { // gone, or it knows no settings yet
		return served{}, false
	}
	if answer.Status != http.StatusOK {
		j.violation("%s: GET /api/v1/settings: %d %s", l.name, answer.Status, answer.Body)
		return served{}, false
	}
	if s, err = j.saw(l.name, answer.Body, parseServed); err != nil {
		j.violation("%s: GET /api/v1/settings: %v", l.name, err)
		return served{}, false
	}
	if s.revision < floor {
		j.violation("%s went back: it serves revision %d after it had shown, or answered a write with, revision %d", l.name, s.revision, floor)
	}
	l.shown(s.revision)
	for _, p := range pairs {
		a, b := s.settings[p[0]], s.settings[p[1]]
		if (a == nil) != (b == nil) || a != nil && a.Value != b.Value {
			j.violation("%s serves half a commit as revision %d: %s is %+v, %s is %+v", l.name, s.revision, p[0], a, p[1], b)
		}
	}
	return s, true
}

// watch keeps reading a pod's state.
func (j *journal) watch(ctx context.Context, p *place, rng *rand.Rand) {
	for ctx.Err() == nil {
		j.read(ctx, p.current.Load())
		pause(ctx, time.Duration(rng.IntN(10))*time.Millisecond)
	}
}

// watchGate asks for the landing page between two reads. If both show the same
// revision, the gate must have been open or closed as that revision says.
func (j *journal) watchGate(ctx context.Context, p *place, rng *rand.Rand) {
	for ; ctx.Err() == nil; pause(ctx, time.Duration(5+rng.IntN(30))*time.Millisecond) {
		l := p.current.Load()
		before, ok := j.read(ctx, l)
		if !ok {
			continue
		}
		answer, err := l.ask(ctx, "GET", "/", "")
		if err != nil {
			continue
		}
		after, ok := j.read(ctx, l)
		if !ok || before.revision != after.revision {
			continue
		}
		j.mu.Lock()
		j.gates++
		j.mu.Unlock()
		want := http.StatusOK
		if closed(before.settings) {
			want = http.StatusServiceUnavailable
		}
		if answer.Status != want {
			j.violation("%s: the gate answered %d at revision %d, but must answer %d", l.name, answer.Status, before.revision, want)
		}
	}
}

// closed reports whether the gate refuses GET / in this state. The windows that the
// writers open last for an hour.
func closed(s state) bool {
	active := s["maintenance_starts_at"] != nil
	if mode := s["maintenance_mode"]; mode != nil && mode.Value == "true" {
		active = true
	}
	readOnly := s["maintenance_read_only"]
	return active && (readOnly == nil || readOnly.Value != "true")
}

// watchTable reads the table itself, so that a state is not blamed on a pod if the
// database had it.
func (j *journal) watchTable(ctx context.Context, url string) {
	var floor int64
	for ; ctx.Err() == nil; pause(ctx, 10*time.Millisecond) {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			continue
		}
		for ctx.Err() == nil {
			text, err := readTable(ctx, conn)
			if err != nil {
				break // the server went away
			}
			s, err := j.saw("the table", text, parseTable)
			switch {
			case err != nil:
				j.violation("%v", err)
			case s.revision < floor:
				j.violation("the table itself went back from revision %d to %d", floor, s.revision)
			}
			floor = max(floor, s.revision)
			pause(ctx, 10*time.Millisecond)
		}
		_ = conn.Close(context.Background())
	}
}

// pause waits, at most until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
