package settings

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// PodState says whether a pod has a revision in force.
type PodState string

const (
	// PodCurrent has it in force.
	PodCurrent PodState = "current"
	// PodBehind does not have it in force, or has not acknowledged it yet.
	PodBehind PodState = "behind"
	// PodLost has been silent for three of its TTLs, and for at least a second. It
	// may be gone, frozen, or cut off and still serving old settings.
	PodLost PodState = "lost"
)

// Pod is one pod of the fleet, by its own last report. Times are the database's.
type Pod struct {
	Name      string
	State     PodState
	Revision  Revision      // in force on it; 0: not known
	Lag       int64         // how many revisions it lacks
	BehindFor time.Duration // the age of the first commit that it lacks; 0: it lacks none
	AppliedAt time.Time     // when it acknowledged Revision; zero: not yet
	LastSeen  time.Time
	StartedAt time.Time
	ClosedAt  time.Time // by when a lost pod had closed its own gate, at the latest; zero: it has not
	Source    Source
	Listener  string
	Build     string

	Instance string // of the process, a UUID
}

// Fleet is a report on which pods have a revision in force.
type Fleet struct {
	// Revision is what the report is about.
	Revision Revision

	// Pods are ordered by name. Two processes with the same name are two pods.
	Pods []Pod

	// Converged says that each pod has the revision in force, or has closed its own
	// gate. It is never true while a pod may serve something older, even a lost one.
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

// ErrFleetUnknown: it is not known what the pods have in force. The register of pods
// cannot be read. Or this pod cannot write to it, so others probably cannot either. Or
// the triggers are off, so that a revision says nothing.
var ErrFleetUnknown = errors.New("it is not known which pods have it in force")

// NoSuchRevisionError: the database has no revision Want; its last one is Head.
type NoSuchRevisionError struct{ Want, Head Revision }

func (e *NoSuchRevisionError) Error() string {
	return fmt.Sprintf("there is no revision %d: the last one is %d", e.Want, e.Head)
}
