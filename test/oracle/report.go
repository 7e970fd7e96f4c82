package oracle

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// report fails the test if anything was wrong, or if too little was done to prove
// anything.
func (j *journal) report(t *testing.T, seed uint64, length time.Duration) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.violations) == 0 {
		if len(j.sightings) <= pods || j.outcomes()[landed] == 0 {
			t.Errorf("seed %d: the round did too little to prove anything", seed)
		}
		return
	}
	const most = 10
	path := filepath.Join(t.ArtifactDir(), fmt.Sprintf("oracle-%d.log", seed))
	if err := os.WriteFile(path, []byte(strings.Join(j.lines, "\n")+"\n"), 0o600); err != nil {
		t.Error(err)
	}
	t.Errorf(`seed %d: %d violations. Repeat the schedule as often as it takes:

	make soak SEED=%d DURATION=%v

The first are:

%s

What was done when is in %s; go test -artifacts keeps it.`,
		seed, len(j.violations), seed, length, strings.Join(j.violations[:min(most, len(j.violations))], "\n\n"), path)
}

// figures sums up in a line what a round did.
func (j *journal) figures(commits []commit) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var faults []string
	for _, k := range slices.Sorted(maps.Keys(j.faults)) {
		faults = append(faults, fmt.Sprintf("%s %d", k, j.faults[k]))
	}
	writes := j.outcomes()
	return fmt.Sprintf("revisions %d; answers %d, states judged %d; gate %d; writes landed %d, in vain %d, unknown %d; caught up in %v; faults: %s",
		len(commits), j.reads, len(j.sightings), j.gates, writes[landed], writes[nothing], writes[unknown], j.caughtUp.Round(time.Millisecond), strings.Join(faults, ", "))
}

// outcomes counts the writes by outcome. The caller holds the lock.
func (j *journal) outcomes() map[outcome]int {
	count := map[outcome]int{}
	for _, w := range j.writes {
		count[w.outcome]++
	}
	return count
}
