package oracle

import (
	"fmt"
	"slices"

	"github.com/google/go-cmp/cmp"
)

// judge compares what the round saw with what the history says happened. commits is
// the whole history, and table the last read of the table itself.
func (j *journal) judge(commits []commit, table served) {
	states, contradictions := replay(commits)
	for _, text := range contradictions {
		j.violation("the history contradicts itself: %s", text)
	}
	asOf := func(revision int64) state {
		if revision < 0 || revision >= int64(len(states)) {
			return nil
		}
		return states[revision]
	}
	head := int64(len(states) - 1)
	if table.revision != head {
		j.violation("the table is at revision %d, the history ends at %d", table.revision, head)
	}
	if !table.settings.equal(states[head]) {
		j.violation("the table is not what the history adds up to at revision %d (-history +table):\n%s", head, cmp.Diff(states[head], table.settings))
	}

	// Every state that was served is the table as of its revision.
	j.mu.Lock()
	wrong := map[sighting]served{}
	for seen := range j.sightings {
		s := j.states[seen.body]
		if want := asOf(s.revision); want == nil || !s.settings.equal(want) {
			wrong[seen] = s
		}
	}
	writes := slices.Clone(j.writes)
	j.mu.Unlock()
	for seen, s := range wrong {
		diff := "there never was such a revision"
		if want := asOf(s.revision); want != nil {
			diff = "(-table +served):\n" + cmp.Diff(want, s.settings)
		}
		j.violation("%s served at %.3f as revision %d what the table never was as of it %s", seen.who, j.sightings[seen].Seconds(), s.revision, diff)
	}

	// Every acknowledged write is in the history, whole, where its answer says; what
	// was refused was not done; and nothing was done twice.
	byTag := map[string]*commit{}
	for i, c := range commits {
		if byTag[c.reason] != nil {
			j.violation("%s was committed twice, as revisions %d and %d", c.reason, byTag[c.reason].revision, c.revision)
		}
		byTag[c.reason] = &commits[i]
	}
	known := map[string]bool{}
	for _, w := range writes {
		known[w.tag] = true
		if fault := w.contradicts(byTag[w.tag], asOf); fault != "" {
			j.violation("%s: %s, %s: %s", w.does, w.outcome, w.why, fault)
		}
	}
	for _, c := range commits[min(1, len(commits)):] { // the first is the migration's
		if c.reason != "" && !known[c.reason] {
			j.violation("revision %d (%s): nobody asked for that", c.revision, c.reason)
		}
	}
}

// contradicts returns how the history, in which c is the write's commit, differs
// from what the writer was told, or "".
func (w *write) contradicts(c *commit, asOf func(int64) state) string {
	switch {
	case w.outcome == nothing && c != nil:
		return fmt.Sprintf("but it is revision %d", c.revision)
	case w.outcome != landed:
		return ""
	case c == nil && w.sure:
		return "but the history does not have it"
	case c != nil && w.revision != 0 && c.revision != w.revision:
		return fmt.Sprintf("as revision %d, but it is revision %d", w.revision, c.revision)
	}
	// The answer to a write that changed nothing has the last revision there
	// was. The setting in it has the revision that last changed it.
	for key, row := range w.rows {
		switch {
		case c != nil && !same(asOf(c.revision)[key], row, w.revision != 0):
			return fmt.Sprintf("%q was to be %+v at revision %d, but it is %+v", key, row, c.revision, asOf(c.revision)[key])
		case c == nil && w.revision != 0 && !same(asOf(row.Revision)[key], row, true):
			return fmt.Sprintf("%q was to be %+v at revision %d, but it is %+v", key, row, row.Revision, asOf(row.Revision)[key])
		}
	}
	if c == nil {
		return ""
	}
	if w.whole {
		for key := range asOf(c.revision) {
			if w.rows[key] == nil {
				return fmt.Sprintf("%q was not to be there at revision %d", key, c.revision)
			}
		}
	}
	if w.was != nil {
		var stood int64
		if s := asOf(c.revision - 1)[w.key]; s != nil {
			stood = s.Revision
		}
		if stood != *w.was {
			return fmt.Sprintf("%q was to be changed only if it stood at revision %d, but it stood at %d", w.key, *w.was, stood)
		}
	}
	return ""
}

// same compares settings, with or without their revisions.
func same(a, b *setting, revisions bool) bool {
	if !revisions || a == nil || b == nil {
		return sameRow(a, b)
	}
	return *a == *b
}
