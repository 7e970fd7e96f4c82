package settings

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Commits change a snapshot as they would change a map, and leave older snapshots as
// they were.
func TestSnapshotsAfterCommitsAreWhatAMapWouldBe(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	chance := rand.New(rand.NewPCG(seed, 0))
	slots := []slotKey{{"k3", KindInt}}
	type moment struct {
		snapshot *Snapshot
		model    map[string]*Setting
	}
	moments := []moment{{newSnapshot(0, SourceDatabase, nil, slots), map[string]*Setting{}}}
	for r := Revision(1); r <= 300; r++ {
		last := moments[len(moments)-1]
		model := maps.Clone(last.model)
		c := &Commit{Revision: r}
		for _, i := range chance.Perm(8)[:1+chance.IntN(3)] {
			key := fmt.Sprintf("k%d", i)
			if chance.IntN(4) == 0 {
				delete(model, key) // which may not be there
				c.Changes = append(c.Changes, Change{Key: key})
				continue
			}
			model[key] = &Setting{Key: key, Value: IntOf(chance.Int64()), Digest: chance.Int64()}
			c.Changes = append(c.Changes, Change{key, model[key]})
		}
		moments = append(moments, moment{last.snapshot.with(c, slots), model})
	}
	for _, m := range moments {
		s := m.snapshot
		want := newSnapshot(s.revision, s.source, slices.Collect(maps.Values(m.model)), slots)
		if diff := cmp.Diff(slices.SortedFunc(maps.Values(m.model), byKey), s.All(), cmp.AllowUnexported(Value{})); diff != "" {
			t.Fatalf("revision %d:\n%s", s.revision, diff)
		}
		if s.digest != want.digest || s.Len() != len(m.model) || !maps.Equal(s.index, want.index) {
			t.Fatalf("revision %d: digest %x, %d settings, index %v, want %x, %d, %v",
				s.revision, s.digest, s.Len(), s.index, want.digest, len(m.model), want.index)
		}
		for i := range 9 {
			if key := fmt.Sprintf("k%d", i); s.Lookup(key) != m.model[key] {
				t.Fatalf("revision %d: %s is %+v", s.revision, key, s.Lookup(key))
			}
		}
		if got := s.slots[0]; got != nil && *got != m.model["k3"].Value || got == nil && m.model["k3"] != nil {
			t.Fatalf("revision %d: the handle reads %+v", s.revision, got)
		}
	}
}
