package settings

import "slices"

// MaxReasonBytes is the longest reason for a change, in bytes of UTF-8.
const MaxReasonBytes = 1024

// Author says who makes a change, and why. Both go into the history, in the
// transaction that makes the change.
type Author struct {
	Actor, Reason string

	// Awaits says that the caller is going to wait until the fleet has the change. Pods
	// then acknowledge it without a pause, even in a flood of commits.
	Awaits bool
}

// Condition must hold for a change to be made. It is checked under the row's lock. If
// it does not hold, the write returns a [*ConflictError]. The zero Condition always
// holds.
type Condition struct {
	Revisions []Revision // the setting was last changed by one of these; nil: by any
	Exists    bool       // the setting exists
	Absent    bool       // it does not exist
}

// Check compares the condition with the current setting, which is nil if it does not
// exist. It returns nil or a [*ConflictError].
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
	Description *string // nil: unchanged
	Public      *bool   // nil: unchanged
	Condition   Condition
	MayCreate   bool // if false, a setting that does not exist is [ErrMayNotCreate]
}

// Written is the answer to a write: it is committed, and in force on this pod.
type Written struct {
	// Revision is the commit's. If nothing changed, it is the last one before.
	Revision Revision
	// Setting is the setting after the write; nil if it was deleted.
	Setting *Setting
	// Created says that the setting did not exist before.
	Created bool
}
