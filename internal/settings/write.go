package settings

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// MaxReasonBytes is the most that a change's reason may take.
const MaxReasonBytes = 1024

// Author says who makes a change, and why: both go into the history, in the same
// transaction.
type Author struct {
	Actor, Reason string

	// Awaits says that the caller will ask [Engine.AwaitFleet]: pods acknowledge
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

func (c Condition) check(key string, s *Setting) error {
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

// Put creates or changes a setting and returns when this pod has it in force.
// Errors: [*InvalidError], [*KindError], [*ConflictError], [ErrMayNotCreate],
// [ErrLocked], [ErrTriggersOff], [ErrUnavailable], [ErrOutcomeUnknown], [*NotInForceError].
func (e *Engine) Put(ctx context.Context, by Author, p Put) (Written, error) {
	if err := CheckKey(p.Key); err != nil {
		return Written{}, err
	}
	if err := p.Value.Check(); err != nil {
		return Written{}, err
	}
	if p.Description != nil && (len(*p.Description) > 4096 || strings.ContainsRune(*p.Description, 0)) {
		return Written{}, &InvalidError{Field: "description", Why: "must take at most 4096 bytes, without U+0000"}
	}
	var created bool
	revision, after, err := e.transact(ctx, by, []string{p.Key}, func(current map[string]*Setting) ([]edit, error) {
		old := current[p.Key]
		if err := p.Condition.check(p.Key, old); err != nil {
			return nil, err
		}
		next := Setting{Key: p.Key, Value: p.Value}
		if created = old == nil; created {
			if !p.MayCreate {
				return nil, ErrMayNotCreate
			}
		} else {
			if old.Value.kind != p.Value.kind {
				return nil, &KindError{Key: p.Key, Have: old.Value.kind, Want: p.Value.kind}
			}
			next.Description, next.Public = old.Description, old.Public
		}
		if p.Description != nil {
			next.Description = *p.Description
		}
		if p.Public != nil {
			next.Public = *p.Public
		}
		return []edit{{key: p.Key, next: &next, exists: old != nil}}, nil
	})
	return Written{Revision: revision, Setting: after[p.Key], Created: created}, err
}

// Delete takes a setting away and returns when this pod has that in force.
// Errors are those of [Engine.Put], and [ErrNotFound].
func (e *Engine) Delete(ctx context.Context, by Author, key string, c Condition) (Written, error) {
	if err := CheckKey(key); err != nil {
		return Written{}, err
	}
	revision, _, err := e.transact(ctx, by, []string{key}, func(current map[string]*Setting) ([]edit, error) {
		if err := c.check(key, current[key]); err != nil {
			return nil, err
		}
		if current[key] == nil {
			return nil, ErrNotFound
		}
		return []edit{{key: key, exists: true}}, nil
	})
	return Written{Revision: revision}, err
}

// SetMaintenance replaces all the maintenance settings in one commit; a zero
// field is cleared. A window that has an end and no start begins now. It returns
// the maintenance as it stands then. Errors are those of [Engine.Put].
func (e *Engine) SetMaintenance(ctx context.Context, by Author, m Maintenance) (Revision, *Maintenance, error) {
	now := time.Now()
	if m.StartsAt.IsZero() && !m.EndsAt.IsZero() {
		m.StartsAt = now
	}
	switch {
	case m.RetryAfter != 0 && (m.RetryAfter < time.Second || m.RetryAfter > MaxRetryAfter || m.RetryAfter%time.Second != 0):
		return 0, nil, &InvalidError{Field: "retry_after", Why: fmt.Sprintf("must be 1 to %d whole seconds", int(MaxRetryAfter.Seconds()))}
	case !m.EndsAt.IsZero() && !m.EndsAt.After(now):
		return 0, nil, &InvalidError{Field: "ends_at", Why: "is over already"}
	case !m.EndsAt.IsZero() && !m.EndsAt.After(m.StartsAt):
		return 0, nil, &InvalidError{Field: "ends_at", Why: "must be after starts_at"}
	}
	wanted := map[string]Value{KeyMaintenanceMode: boolValue(m.Enabled)}
	if m.ReadOnly {
		wanted[KeyMaintenanceReadOnly] = boolValue(true)
	}
	if m.Message != "" {
		wanted[KeyMaintenanceMessage] = textValue(m.Message)
	}
	if m.RetryAfter != 0 {
		wanted[KeyMaintenanceRetryAfter] = intValue(int64(m.RetryAfter / time.Second))
	}
	if !m.StartsAt.IsZero() {
		wanted[KeyMaintenanceStartsAt] = timeValue(m.StartsAt)
	}
	if !m.EndsAt.IsZero() {
		wanted[KeyMaintenanceEndsAt] = timeValue(m.EndsAt)
	}
	for key, v := range wanted {
		if err := v.Check(); err != nil {
			invalid, _ := errors.AsType[*InvalidError](err)
			return 0, nil, &InvalidError{Field: strings.TrimPrefix(key, "maintenance_"), Why: invalid.Why}
		}
	}

	revision, after, err := e.transact(ctx, by, maintenanceKeys, func(current map[string]*Setting) (edits []edit, _ error) {
		for _, key := range maintenanceKeys {
			old := current[key]
			value, want := wanted[key]
			switch {
			case want && old != nil:
				next := *old
				next.Value = value
				edits = append(edits, edit{key: key, next: &next, exists: true})
			case want:
				edits = append(edits, edit{key: key, next: &Setting{Key: key, Value: value}})
			case old != nil:
				edits = append(edits, edit{key: key, exists: true})
			}
		}
		return edits, nil
	})
	stands := maintenanceOf(func(key string) *Setting { return after[key] })
	return revision, &stands, err
}
