package oracle

import (
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
)

// story is a round without violations, small enough to be written by hand.
type story struct {
	commits []commit
	table   served
	seen    []served
	writes  []*write
}

func text(value string, revision int64) *setting {
	return &setting{Kind: "text", Value: value, Revision: revision}
}

func goodStory() *story {
	one, two := text("one", 0), text("two", 0)
	last := state{"a": text("two", 2), "b": text("two", 2)}
	return &story{
		commits: []commit{
			{revision: 1, reason: "h1", changes: []change{{"a", nil, one}, {"c", nil, one}}},
			{revision: 2, reason: "s1", changes: []change{{"a", one, two}, {"b", nil, two}, {"c", one, nil}}},
		},
		table: served{2, last},
		seen:  []served{{1, state{"a": text("one", 1), "c": text("one", 1)}}, {2, last}},
		writes: []*write{
			{tag: "h1", outcome: landed, sure: true, revision: 1, key: "a", was: new(int64), rows: map[string]*setting{"a": text("one", 1)}},
			{tag: "s1", outcome: landed, sure: true, whole: true, rows: map[string]*setting{"a": two, "b": two, "c": nil}},
			{tag: "s2", outcome: nothing, sure: true},
			{tag: "h2", outcome: unknown, sure: true},
		},
	}
}

func (s *story) judge() []string {
	j := newJournal()
	for i, seen := range s.seen {
		sum := sha256.Sum256([]byte{byte(i)})
		j.states[sum], j.sightings[sighting{"pod-1", sum}] = seen, 0
	}
	j.writes = s.writes
	j.judge(s.commits, s.table)
	return j.violations
}

func TestTheJudgeAcceptsWhatIsRight(t *testing.T) {
	if found := goodStory().judge(); len(found) > 0 {
		t.Error(strings.Join(found, "\n"))
	}
}

func TestTheJudgeFinds(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*story)
		says  string
	}{
		"half a commit":                   {func(s *story) { s.seen[1].settings = state{"a": text("two", 2)} }, "never was"},
		"a commit too much":               {func(s *story) { s.seen[0].revision = 2 }, "never was"},
		"a revision that never was":       {func(s *story) { s.seen[1].revision = 3 }, "never was such a revision"},
		"a field that is wrong":           {func(s *story) { s.seen[0].settings["a"].UpdatedBy = "nobody" }, "never was"},
		"a gap in the numbers":            {func(s *story) { s.commits[1].revision = 3 }, "revision 3 follows on 1"},
		"numbers that are not in order":   {func(s *story) { s.commits[1].changes[0].before = text("zero", 0) }, "it was"},
		"a commit that changes nothing":   {func(s *story) { s.commits[1].changes[0].after = s.commits[1].changes[0].before }, "changed nothing"},
		"a change without a commit":       {func(s *story) { s.table.settings = state{"a": text("three", 2)} }, "adds up to"},
		"a table that is behind":          {func(s *story) { s.table = s.seen[0] }, "the table is at revision 1"},
		"a lost acknowledged write":       {func(s *story) { s.writes[3].outcome = landed }, "does not have it"},
		"a write under another revision":  {func(s *story) { s.writes[0].revision = 2 }, "but it is revision 1"},
		"a write with another value":      {func(s *story) { s.writes[0].rows["a"] = text("zero", 1) }, "was to be"},
		"half of a transaction":           {func(s *story) { s.writes[1].rows["b"] = text("three", 0) }, "was to be"},
		"what a truncation left":          {func(s *story) { delete(s.writes[1].rows, "b") }, "not to be there"},
		"a write that was refused":        {func(s *story) { s.writes[1].outcome = nothing }, "but it is revision 2"},
		"a write that was made twice":     {func(s *story) { s.commits[1].reason = "h1" }, "committed twice"},
		"a write that nobody asked for":   {func(s *story) { s.writes = slices.Delete(s.writes, 1, 2) }, "nobody asked"},
		"a condition that no longer held": {func(s *story) { s.writes[0].was = new(int64(7)) }, "only if it stood at revision 7"},
		"nothing changed, and a wrong state": {func(s *story) {
			s.writes[3] = &write{outcome: landed, revision: 2, rows: map[string]*setting{"a": text("one", 2)}}
		}, "was to be"},
	} {
		t.Run(name, func(t *testing.T) {
			s := goodStory()
			test.spoil(s)
			found := strings.Join(s.judge(), "\n")
			if !strings.Contains(found, test.says) {
				t.Errorf("want %q, found:\n%s", test.says, found)
			}
		})
	}
}
