package main

import (
	"errors"
	"testing"
	"time"
)

// threePods is a fleet at revision 1.
func threePods() *fleet {
	return &fleet{
		pods:     []*pod{{name: "pod-1"}, {name: "pod-2"}, {name: "pod-3"}},
		last:     make([]sight, 3),
		revision: 1,
		told:     true,
	}
}

func at(milliseconds int) time.Time { return time.UnixMilli(int64(milliseconds)) }

func with(revision int64, milliseconds int) sight {
	return sight{at: at(milliseconds), ready: readiness{Revision: revision}}
}

func TestAChangeIsToldOnceAllThatAnswerHaveIt(t *testing.T) {
	f := threePods()
	for i, step := range []struct {
		pod  int
		s    sight
		told bool
		want string
	}{
		{0, with(1, 0), false, ""},
		{1, with(2, 10), false, "revision 2: on pod-2 within 20 ms, as seen by polling every 20 ms; not on pod-1, pod-3"},
		{0, with(2, 13), false, "revision 2: on pod-1, pod-2 within 23 ms, as seen by polling every 20 ms; not on pod-3"},
		{2, sight{err: errors.New("no answer")}, true, "revision 2: on pod-1, pod-2 within 23 ms, as seen by polling every 20 ms; not on pod-3"},
		{1, with(2, 30), false, "revision 2: on pod-1, pod-2 within 23 ms, as seen by polling every 20 ms; not on pod-3"},
		{2, with(2, 510), false, "revision 2: on pod-1, pod-2, pod-3 within 520 ms, as seen by polling every 20 ms"},
	} {
		if told := f.see(step.pod, step.s); told != step.told {
			t.Errorf("step %d: told %v, want %v", i, told, step.told)
		}
		if step.want != "" && f.change() != step.want {
			t.Errorf("step %d: %s\nwant: %s", i, f.change(), step.want)
		}
	}
}

func TestABurstShowsAsItsLastRevision(t *testing.T) {
	f := threePods()
	told := 0
	for _, s := range []struct {
		pod   int
		sight sight
	}{{0, with(2, 1)}, {1, with(3, 2)}, {2, with(2, 3)}, {0, with(3, 21)}, {2, with(3, 23)}} {
		if f.see(s.pod, s.sight) {
			told++
		}
	}
	want := "revision 3: on pod-1, pod-2, pod-3 within 41 ms, as seen by polling every 20 ms"
	if told != 1 || f.change() != want {
		t.Errorf("told %d times: %s\nwant once: %s", told, f.change(), want)
	}
}
