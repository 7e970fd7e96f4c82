package settings

import "slices"

// MaxReasonBytes is the most that a change's reason may take.
const MaxReasonBytes = 1024

// Author says who makes a change, and why: both go into the history, in the same
// transaction.
type Author struct {
	Actor, Reason string

	// Awaits says that the caller will ask to be told when the fleet has it: pods acknowledge
	// the change at once, however many they had to acknowledge of late.
	Awaits bool
}

// Condition is what must hold for a change to be made, checked under the row's
// lock. The zero Condition always holds. Where it does not, the write returns a
// [*ConflictError].
type Condition struct {
	Revisions []Revision // the setting stands at one of these
	Exists    bool       // it exists
	Absent    bool       // it does not
}

// Check holds the condition against the setting as it is, nil if it does not exist.
func (c Condition) Check(key string, s *Setting) error {
	var have Revision
	if s != nil {
		have = s.Revision
	}
	if c.Absent && s != nil || c.Exists && s == nil || c.Revisions != nil && (s == nil || !slices.Contains(c.Revisions, have)) {
		return &ConflictError{Key: key, Have: have}
	}
	return nil
}

// Put is a setting to create or change.
type Put struct {
	Key         string
	Value       Value
	Description *string // nil: as it is
	Public      *bool   // nil: as it is
	Condition   Condition
	MayCreate   bool // else a setting that does not exist is [ErrMayNotCreate]
}

// Written is the answer to a write: it is committed, and in force on this pod.
type Written struct {
	// Revision of the commit; of the last one there was, if nothing changed.
	Revision Revision
	// Setting as it stands now; nil if deleted.
	Setting *Setting
	// Created says that it did not exist before.
	Created bool
}
