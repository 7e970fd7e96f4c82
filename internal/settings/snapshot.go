package settings

import (
	"maps"
	"slices"
	"time"
)

// Source says where a snapshot's values come from.
type Source string

// The sources, the best first.
const (
	SourceDatabase    Source = "database"
	SourceFile        Source = "file"        // the last-good file, until the database was read
	SourceEnvironment Source = "environment" // MAINTENANCE_MODE, until the database was read
	SourceDefault     Source = "default"     // nothing is set
)

// Known says whether the values are settings that the database once held, now
// or when the file was written.
func (s Source) Known() bool { return s == SourceDatabase || s == SourceFile }

// Snapshot is every setting as of one revision. It is immutable, so it can be
// kept and read from any goroutine for as long as one likes.
type Snapshot struct {
	revision    Revision
	source      Source
	settings    map[string]*Setting
	slots       []*Value  // what each handle reads; nil: its fallback
	at          time.Time // when the commit of that revision was made, by the database's clock; zero: not known
	digest      int64     // XOR of the rows' digests; the database computes the same in one query
	maintenance Maintenance

	// lineage counts how often the database went back. Revisions compare only
	// within one.
	lineage int
}

// newSnapshot takes ownership of settings.
func newSnapshot(revision Revision, source Source, settings map[string]*Setting, slots []slotKey) *Snapshot {
	s := &Snapshot{revision: revision, source: source, settings: settings}
	for _, setting := range settings {
		s.digest ^= setting.digest
	}
	s.maintenance = maintenanceOf(settings)
	return s.withSlots(slots)
}

// withSlots is the same snapshot with the handles' values found anew.
func (s *Snapshot) withSlots(slots []slotKey) *Snapshot {
	next := *s
	next.slots = make([]*Value, len(slots))
	for i, slot := range slots {
		if setting, ok := s.settings[slot.key]; ok && setting.Value.kind == slot.kind {
			next.slots[i] = &setting.Value
		}
	}
	return &next
}

// with is the snapshot after some commits, the last of which is revision.
func (s *Snapshot) with(revision Revision, at time.Time, changes []change, slots []slotKey) *Snapshot {
	next := maps.Clone(s.settings)
	for _, c := range changes {
		if c.setting == nil {
			delete(next, c.key)
		} else {
			next[c.key] = c.setting
		}
	}
	n := newSnapshot(revision, s.source, next, slots)
	n.at, n.lineage = at, s.lineage
	return n
}

// differs says whether a database has the snapshot's revision from another commit
// than the snapshot: at is when that was made, nil where it is not known.
func (s *Snapshot) differs(at *time.Time) bool {
	return at != nil && !s.at.IsZero() && !at.Equal(s.at)
}

// Revision of the last commit in the snapshot; 0 before the database was read.
func (s *Snapshot) Revision() Revision { return s.revision }

// Source of the values.
func (s *Snapshot) Source() Source { return s.source }

// Len is the number of settings.
func (s *Snapshot) Len() int { return len(s.settings) }

// Lookup finds a setting by its key; nil if there is none. The caller must not
// change it.
func (s *Snapshot) Lookup(key string) *Setting { return s.settings[key] }

// All lists the settings, ordered by key. The caller owns the slice, not the
// settings.
func (s *Snapshot) All() []*Setting {
	return slices.SortedFunc(maps.Values(s.settings), func(a, b *Setting) int {
		switch {
		case a.Key < b.Key:
			return -1
		case a.Key > b.Key:
			return 1
		}
		return 0
	})
}

// Maintenance is the maintenance as of the snapshot. The caller must not change
// it.
func (s *Snapshot) Maintenance() *Maintenance { return &s.maintenance }

// change is what a commit did to one key; a nil setting is a deletion.
type change struct {
	key     string
	setting *Setting
}

// commit is one notification.
type commit struct {
	revision Revision
	at       time.Time // by the database's clock
	changes  []change  // nil: too large to carry
}
