package main

import (
	"strings"
	"testing"
	"time"

	"platform-settings/internal/wire"
)

func TestAPodThatHasNotSaidWhatItHasIsNotCalledBehindByANumber(t *testing.T) {
	longAgo := time.Now().Add(-1361 * time.Second)
	f := fleetReport{wire.Fleet{Revision: 42, Pods: []wire.Pod{
		{Pod: "a", Revision: 42, State: "current", LastSeen: &longAgo},
		{Pod: "b", Revision: 40, State: "behind", Lag: 2, LagSeconds: 1.26, LastSeen: &longAgo},
		{Pod: "c", State: "lost", Lag: 42, LastSeen: &longAgo},
	}}}
	var printed strings.Builder
	f.table(&printed)
	want := [][]string{{"POD", "STATE", "REVISION", "LAG"}, {"a", "current", "42", "-"}, {"b", "behind", "40", "2, 1.3s"}, {"c", "lost", "unknown", "unknown"}}
	lines := strings.Split(strings.TrimSpace(printed.String()), "\n")
	if len(lines) != len(want) {
		t.Fatalf("%d lines:\n%s", len(lines), printed.String())
	}
	for i, line := range lines {
		rest := line
		for _, cell := range want[i] {
			var ok bool
			if rest, ok = strings.CutPrefix(strings.TrimLeft(rest, " "), cell+" "); !ok {
				t.Errorf("%q is not %q", line, want[i])
				break
			}
		}
	}
	if got, want := f.stragglers(), "b (behind, at revision 40), c (lost, has not reported a revision)"; got != want {
		t.Errorf("not known to have it: %q, want %q", got, want)
	}
}
