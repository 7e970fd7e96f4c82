package settings

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"platform-settings/settings"
)

// maintenanceKeys are in the order in which writers lock them.
var maintenanceKeys = []string{
	settings.KeyMaintenanceEndsAt, settings.KeyMaintenanceMessage, settings.KeyMaintenanceMode,
	settings.KeyMaintenanceReadOnly, settings.KeyMaintenanceRetryAfter, settings.KeyMaintenanceStartsAt,
}

// writer makes changes, each in one transaction.
type writer struct {
	pool   *pgxpool.Pool
	keeper *settings.Keeper
	await  func(context.Context, settings.Revision) error // until a revision is in force on this pod
}

// Put creates or changes a setting, and returns when this pod has it in force. Errors:
// [*settings.InvalidError], [*settings.KindError], [*settings.ConflictError],
// [settings.ErrMayNotCreate], [settings.ErrLocked], [settings.ErrTriggersOff],
// [settings.ErrUnavailable], [settings.ErrOutcomeUnknown], [*settings.NotInForceError].
func (w *writer) Put(ctx context.Context, by settings.Author, p settings.Put) (settings.Written, error) {
	if err := settings.CheckKey(p.Key); err != nil {
		return settings.Written{}, err
	}
	if err := p.Value.Check(); err != nil {
		return settings.Written{}, err
	}
	if p.Description != nil && (len(*p.Description) > 4096 || strings.ContainsRune(*p.Description, 0)) {
		return settings.Written{}, &settings.InvalidError{Field: "description", Why: "must take at most 4096 bytes, without U+0000"}
	}
	var created bool
	revision, after, err := w.transact(ctx, by, []string{p.Key}, func(current map[string]*settings.Setting) ([]edit, error) {
		old := current[p.Key]
		if err := p.Condition.Check(p.Key, old); err != nil {
			return nil, err
		}
		next := settings.Setting{Key: p.Key, Value: p.Value}
		if created = old == nil; created {
			if !p.MayCreate {
				return nil, settings.ErrMayNotCreate
			}
		} else {
			if old.Value.Kind() != p.Value.Kind() {
				return nil, &settings.KindError{Key: p.Key, Have: old.Value.Kind(), Want: p.Value.Kind()}
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
	return settings.Written{Revision: revision, Setting: after[p.Key], Created: created}, err
}

// Delete deletes a setting, and returns when that is in force on this pod. Errors are
// those of Put, and [settings.ErrNotFound].
func (w *writer) Delete(ctx context.Context, by settings.Author, key string, c settings.Condition) (settings.Written, error) {
	if err := settings.CheckKey(key); err != nil {
		return settings.Written{}, err
	}
	revision, _, err := w.transact(ctx, by, []string{key}, func(current map[string]*settings.Setting) ([]edit, error) {
		if err := c.Check(key, current[key]); err != nil {
			return nil, err
		}
		if current[key] == nil {
			return nil, settings.ErrNotFound
		}
		return []edit{{key: key, exists: true}}, nil
	})
	return settings.Written{Revision: revision}, err
}

// SetMaintenance replaces all maintenance settings in one commit. A zero field deletes
// its setting, except the switch, which is turned off. A window with an end but no start
// begins now. It returns the commit's revision, and the maintenance after it. Errors are
// those of Put.
func (w *writer) SetMaintenance(ctx context.Context, by settings.Author, m settings.Maintenance) (settings.Revision, *settings.Maintenance, error) {
	now := time.Now()
	if m.StartsAt.IsZero() && !m.EndsAt.IsZero() {
		m.StartsAt = now
	}
	switch {
	case m.RetryAfter != 0 && (m.RetryAfter < time.Second || m.RetryAfter > settings.MaxRetryAfter || m.RetryAfter%time.Second != 0):
		return 0, nil, &settings.InvalidError{Field: "retry_after", Why: fmt.Sprintf("must be 1 to %d whole seconds", int(settings.MaxRetryAfter.Seconds()))}
	case !m.EndsAt.IsZero() && !m.EndsAt.After(now):
		return 0, nil, &settings.InvalidError{Field: "ends_at", Why: "is over already"}
	case !m.EndsAt.IsZero() && !m.EndsAt.After(m.StartsAt):
		return 0, nil, &settings.InvalidError{Field: "ends_at", Why: "must be after starts_at"}
	}
	wanted := map[string]settings.Value{settings.KeyMaintenanceMode: settings.BoolOf(m.Enabled)}
	if m.ReadOnly {
		wanted[settings.KeyMaintenanceReadOnly] = settings.BoolOf(true)
	}
	if m.Message != "" {
		wanted[settings.KeyMaintenanceMessage] = settings.TextOf(m.Message)
	}
	if m.RetryAfter != 0 {
		wanted[settings.KeyMaintenanceRetryAfter] = settings.IntOf(int64(m.RetryAfter / time.Second))
	}
	if !m.StartsAt.IsZero() {
		wanted[settings.KeyMaintenanceStartsAt] = settings.TimeOf(m.StartsAt)
	}
	if !m.EndsAt.IsZero() {
		wanted[settings.KeyMaintenanceEndsAt] = settings.TimeOf(m.EndsAt)
	}
	for key, v := range wanted {
		if err := v.Check(); err != nil {
			invalid, _ := errors.AsType[*settings.InvalidError](err)
			return 0, nil, &settings.InvalidError{Field: strings.TrimPrefix(key, "maintenance_"), Why: invalid.Why}
		}
	}

	revision, after, err := w.transact(ctx, by, maintenanceKeys, func(current map[string]*settings.Setting) (edits []edit, _ error) {
		for _, key := range maintenanceKeys {
			old := current[key]
			value, want := wanted[key]
			switch {
			case want && old != nil:
				next := *old
				next.Value = value
				edits = append(edits, edit{key: key, next: &next, exists: true})
			case want:
				edits = append(edits, edit{key: key, next: &settings.Setting{Key: key, Value: value}})
			case old != nil:
				edits = append(edits, edit{key: key, exists: true})
			}
		}
		return edits, nil
	})
	current := settings.MaintenanceOf(func(key string) *settings.Setting { return after[key] })
	return revision, &current, err
}
