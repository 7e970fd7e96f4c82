package settings

import (
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

	Instance string // of the process, a UUID
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

// ServesOlder says whether the pod may be serving something older than a revision.
func (p Pod) ServesOlder(r Revision) bool { return p.Revision < r && p.ClosedAt.IsZero() }

// ErrFleetUnknown: nobody can say who has what in force: the register of pods
// cannot be read, this pod itself cannot write to it, as others then cannot, or
// the triggers are off, so that a revision says nothing.
var ErrFleetUnknown = errors.New("it is not known which pods have it in force")

// NoSuchRevisionError: the database has no revision Want, its last one is Head.
type NoSuchRevisionError struct{ Want, Head Revision }

func (e *NoSuchRevisionError) Error() string {
	return fmt.Sprintf("there is no revision %d: the last one is %d", e.Want, e.Head)
}
