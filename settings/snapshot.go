package settings

import (
	"slices"
	"strings"
	"time"
)

// Source says where a snapshot's values come from.
type Source string

// The sources, best first.
const (
	SourceDatabase    Source = "database"
	SourceFile        Source = "file"        // the last-good file, until the database has been read
	SourceEnvironment Source = "environment" // MAINTENANCE_MODE, until the database has been read
	SourceDefault     Source = "default"     // nothing is set
)

// Known says whether the values come from the database, directly or through the
// last-good file.
func (s Source) Known() bool { return s == SourceDatabase || s == SourceFile }

// Snapshot is every setting as of one revision. It is immutable, so any goroutine may
// keep it and read it for as long as it likes.
type Snapshot struct {
	revision    Revision
	source      Source
	rows        []*Setting     // ordered by key
	index       map[string]int // into rows, by key; shared by snapshots with the same keys
	slots       []*Value       // what each handle reads; nil: its fallback
	at          time.Time      // when the revision's commit was made, by the database's clock; zero: not known
	digest      int64          // XOR of the rows' digests
	maintenance Maintenance

	lineage Lineage
}

// Lineage counts how often the database went back. Revisions can only be compared
// within one lineage.
type Lineage int

// newSnapshot makes a snapshot that owns the slice of rows.
func newSnapshot(revision Revision, source Source, rows []*Setting, slots []slotKey) *Snapshot {
	slices.SortFunc(rows, byKey)
	s := &Snapshot{revision: revision, source: source, rows: rows, index: indexOf(rows)}
	for _, setting := range rows {
		s.digest ^= setting.Digest
	}
	s.maintenance = MaintenanceOf(s.Lookup)
	return s.withSlots(slots)
}

func byKey(a, b *Setting) int { return strings.Compare(a.Key, b.Key) }

func indexOf(rows []*Setting) map[string]int {
	index := make(map[string]int, len(rows))
	for i, setting := range rows {
		index[setting.Key] = i
	}
	return index
}

// withSlots is the same snapshot, with the handles' values looked up again.
func (s *Snapshot) withSlots(slots []slotKey) *Snapshot {
	next := *s
	next.slots = make([]*Value, len(slots))
	for i, slot := range slots {
		if setting := s.Lookup(slot.key); setting != nil && setting.Value.kind == slot.kind {
			next.slots[i] = &setting.Value
		}
	}
	return &next
}

// with is the snapshot after a commit. Nearly all commits only change values of
// existing settings; those cost no more than a copy of the slice of rows.
func (s *Snapshot) with(c *Commit, slots []slotKey) *Snapshot {
	next := *s
	next.revision, next.at, next.rows = c.Revision, c.At, slices.Clone(s.rows)
	for _, ch := range c.Changes {
		i, found := slices.BinarySearchFunc(next.rows, ch.Key, func(s *Setting, key string) int { return strings.Compare(s.Key, key) })
		if found {
			next.digest ^= next.rows[i].Digest
		}
		if ch.Setting != nil {
			next.digest ^= ch.Setting.Digest
		}
		switch {
		case found && ch.Setting != nil:
			next.rows[i] = ch.Setting
		case found:
			next.rows, next.index = slices.Delete(next.rows, i, i+1), nil
		case ch.Setting != nil:
			next.rows, next.index = slices.Insert(next.rows, i, ch.Setting), nil
		}
	}
	if next.index == nil {
		next.index = indexOf(next.rows)
	}
	next.maintenance = MaintenanceOf(next.Lookup)
	return next.withSlots(slots)
}

// differs says whether a database has another commit under the snapshot's revision. at
// is when that commit was made there; zero: not known.
func (s *Snapshot) differs(at time.Time) bool {
	return !at.IsZero() && !s.at.IsZero() && !at.Equal(s.at)
}

// Revision is the last commit's in the snapshot. It is 0 before any was read.
func (s *Snapshot) Revision() Revision { return s.revision }

// Source says where the values come from.
func (s *Snapshot) Source() Source { return s.source }

// Lineage is the one that the revision belongs to.
func (s *Snapshot) Lineage() Lineage { return s.lineage }

// Digest is the XOR of the settings' digests. XOR does not depend on their order, so
// the source can compute the same in one query.
func (s *Snapshot) Digest() int64 { return s.digest }

// Len is the number of settings.
func (s *Snapshot) Len() int { return len(s.rows) }

// Lookup finds a setting by its key; nil if it does not exist. The caller must not
// change it.
func (s *Snapshot) Lookup(key string) *Setting {
	if i, ok := s.index[key]; ok {
		return s.rows[i]
	}
	return nil
}

// All lists the settings, ordered by key. The caller owns the slice, not the
// settings.
func (s *Snapshot) All() []*Setting { return slices.Clone(s.rows) }

// Maintenance is the maintenance as of the snapshot. The caller must not change
// it.
func (s *Snapshot) Maintenance() *Maintenance { return &s.maintenance }
