package settings

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// PodState is how a pod stands to a revision.
type PodState string

const (
	// PodCurrent has it in force.
	PodCurrent PodState = "current"
	// PodBehind has not, or has not said so yet.
	PodBehind PodState = "behind"
	// PodLost has said nothing for three of its TTLs, and a second at least. It
	// may be gone, frozen, or cut off and still serving what it knew.
	PodLost PodState = "lost"
)

// Pod is one pod of the fleet, as it last said itself. Times are the database's.
type Pod struct {
	Name      string
	State     PodState
	Revision  Revision      // in force on it; 0 where it is not known
	Lag       int64         // revisions that it lacks
	BehindFor time.Duration // the age of the first commit that it lacks; 0 for none
	AppliedAt time.Time     // when it said that it has Revision in force; zero: not yet
	LastSeen  time.Time
	StartedAt time.Time
	ClosedAt  time.Time // since when, at the latest, a lost pod has closed its own gate; zero: it has not
	Source    Source
	Listener  string
	Build     string

	instance string
}

// Fleet is a report: who has a revision in force.
type Fleet struct {
	// Revision that the report is about.
	Revision Revision

	// Pods ordered by name. Two processes under one name are two pods.
	Pods []Pod

	// Converged: each pod of the fleet has it in force, or has closed its own
	// gate. Never true while a pod may serve something older: not even if that
	// pod is lost.
	Converged bool

	age    time.Duration // of the revision's commit
	counts bool          // the triggers are on: a revision says what is in force
}

// Named lists the names of the pods in a state, once each.
func (f Fleet) Named(state PodState) []string {
	names := []string{}
	for _, p := range f.Pods {
		if p.State == state {
			names = append(names, p.Name)
		}
	}
	return slices.Compact(names)
}

// serving says whether the pod may be serving something older than a revision.
func (p Pod) serving(older Revision) bool { return p.Revision < older && p.ClosedAt.IsZero() }

// ErrFleetUnknown: nobody can say who has what in force: the register of pods
// cannot be read, this pod itself cannot write to it, as others then cannot, or
// the triggers are off, so that a revision says nothing.
var ErrFleetUnknown = errors.New("it is not known which pods have it in force")

// Fleet reports who has a revision in force; 0 is the last one. The error is
// [ErrFleetUnknown], with as much of the report as there is.
func (e *Engine) Fleet(ctx context.Context, revision Revision) (Fleet, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, fmt.Errorf("no answer within %v", answerTimeout))
	defer cancel()
	f, err := e.readFleet(ctx, revision)
	switch {
	case err != nil:
	case e.member == nil || e.problemWith("fleet"):
		err = errors.New("this pod cannot report itself")
	case !slices.ContainsFunc(f.Pods, func(p Pod) bool { return p.instance == e.member.instance }):
		err = errors.New("this pod is not in the register yet")
	case !f.counts:
		err = ErrTriggersOff
	}
	if err != nil {
		f.Converged = false
		return f, fmt.Errorf("%w: %w", ErrFleetUnknown, err)
	}
	return f, nil
}

// AwaitFleet waits until each pod has a revision in force, and returns the last
// report: also where ctx ends first, which is no error; there is always one. Pods that were lost when
// it began do not hold it up; those that are lost meanwhile do. The error is
// [ErrFleetUnknown].
func (e *Engine) AwaitFleet(ctx context.Context, revision Revision) (Fleet, error) {
	began := time.Now()
	var writtenOff map[string]bool
	for {
		// The last look begins in time, and may end a little later.
		f, err := e.Fleet(context.WithoutCancel(ctx), revision)
		if err == nil && writtenOff == nil {
			writtenOff = map[string]bool{}
			for _, p := range f.Pods {
				writtenOff[p.instance] = p.State == PodLost
			}
		}
		if err == nil && !slices.ContainsFunc(f.Pods, func(p Pod) bool { return p.serving(f.Revision) && !writtenOff[p.instance] }) {
			if f.Converged {
				e.metrics.convergence.Observe(f.age.Seconds())
			}
			return f, nil
		}
		// Often at first, for most fleets take milliseconds.
		wait := min(max(time.Since(began)/4, 3*time.Millisecond), 100*time.Millisecond)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return f, err
		}
	}
}

// readFleet reads the register in one statement. It is never empty without an
// error that matters: this pod is in it.
func (e *Engine) readFleet(ctx context.Context, revision Revision) (Fleet, error) {
	f := Fleet{Revision: revision, Converged: true}
	rows, err := e.pool.Query(ctx, `
		SELECT `+firingColumn+`, h.revision, clock_timestamp() - (SELECT c.at FROM public.settings_commits c WHERE c.revision = h.revision),
		       f.instance::text, f.pod, f.state, coalesce(f.revision, 0), f.behind_for, f.applied_at, f.last_seen,
		       f.started_at, f.closed_at, coalesce(f.source, ''), coalesce(f.listener, ''), f.build
		  FROM (SELECT coalesce(nullif($1::bigint, 0), revision) AS revision FROM public.settings_head LIMIT 1) h, public.settings_fleet f
		 ORDER BY f.pod, f.started_at`, revision)
	if err != nil {
		return f, fmt.Errorf("read the fleet: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var (
			p                             Pod
			age, behindFor                *time.Duration
			appliedAt, lastSeen, closedAt *time.Time
		)
		err := rows.Scan(&f.counts, &f.Revision, &age, &p.instance, &p.Name, &p.State, &p.Revision, &behindFor, &appliedAt, &lastSeen,
			&p.StartedAt, &closedAt, &p.Source, &p.Listener, &p.Build)
		if err != nil {
			return f, fmt.Errorf("read the fleet: %w", err)
		}
		f.age = orZero(age)
		if now := e.Current(); e.member != nil && p.instance == e.member.instance && now.source == SourceDatabase && now.revision != p.Revision {
			p.Revision, appliedAt = now.revision, nil // its acknowledgement is still under way
		}
		p.AppliedAt, p.LastSeen, p.ClosedAt = orZero(appliedAt), orZero(lastSeen), orZero(closedAt)
		if p.Lag = max(0, int64(f.Revision-p.Revision)); p.Lag > 0 {
			p.BehindFor = orZero(behindFor)
		}
		if p.State != PodLost { // the view compares with the last revision
			p.State = PodCurrent
			if p.Lag > 0 {
				p.State = PodBehind
			}
		}
		f.Converged = f.Converged && !p.serving(f.Revision)
		f.Pods = append(f.Pods, p)
	}
	if err := rows.Err(); err != nil {
		return f, fmt.Errorf("read the fleet: %w", err)
	}
	return f, nil
}

func orZero[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
