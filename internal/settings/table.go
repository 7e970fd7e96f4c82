package settings

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"platform-settings/settings"
)

// settingColumns are the columns of a settingRow, for a row s of the table.
const settingColumns = `
	s.key, s.value_bool, s.value_int, s.value_float, s.value_text, s.value_time, s.value_json::text,
	s.description, s.public, s.updated_at, s.updated_by, hash_record_extended(s, 0),
	coalesce((SELECT max(ch.revision) FROM public.settings_changes ch WHERE ch.key = s.key), 0)`

// readTable reads the whole table in one statement, and so as of one commit
// (PostgreSQL manual, 13.2.1 Read Committed). LIMIT tells the planner that the head is
// one row. Otherwise it expects hundreds, and spends 70 ms on compiling the query (JIT).
func readTable(ctx context.Context, conn *pgx.Conn, base settings.Base) (*settings.Reading, error) {
	r := &settings.Reading{Head: settings.Head{Base: base}}
	var at, baseAt *time.Time
	rows, err := conn.Query(ctx, `
		SELECT h.revision, `+atColumn+`, `+baseColumn+`,
		       pg_is_in_recovery(), s.key IS NOT NULL, `+settingColumns+`
		  FROM (SELECT revision FROM public.settings_head LIMIT 1) h
		  LEFT JOIN public.platform_settings s ON true`, base.Revision())
	if err != nil {
		return nil, fmt.Errorf("read the settings: %w", err)
	}
	defer rows.Close()
	heads := 0
	for rows.Next() {
		heads++
		var standby, exists bool
		var row settingRow
		if err := rows.Scan(append([]any{&r.Revision, &at, &baseAt, &standby, &exists}, row.columns()...)...); err != nil {
			return nil, fmt.Errorf("read the settings: %w", err)
		}
		if standby {
			return nil, fmt.Errorf("read the settings: %w", errStandby)
		}
		if exists {
			r.Settings = append(r.Settings, row.setting())
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the settings: %w", err)
	}
	if heads == 0 {
		return nil, fmt.Errorf("read the settings: %w", errNoHead)
	}
	r.At, r.BaseAt = orZero(at), orZero(baseAt)
	return r, nil
}

// settingRow receives a row of the table. If the table is empty, everything is null.
type settingRow struct {
	key, description, updatedBy *string
	boolean, public             *bool
	integer, digest             *int64
	float                       *float64
	text, json                  *string
	time, updatedAt             *time.Time
	revision                    settings.Revision
}

func (r *settingRow) columns() []any {
	return []any{
		&r.key, &r.boolean, &r.integer, &r.float, &r.text, &r.time, &r.json,
		&r.description, &r.public, &r.updatedAt, &r.updatedBy, &r.digest, &r.revision,
	}
}

func (r *settingRow) setting() *settings.Setting {
	s := &settings.Setting{
		Key: *r.key, Description: *r.description, Public: *r.public, Revision: r.revision,
		UpdatedAt: r.updatedAt.UTC(), UpdatedBy: *r.updatedBy, Digest: *r.digest,
	}
	switch {
	case r.boolean != nil:
		s.Value = settings.BoolOf(*r.boolean)
	case r.integer != nil:
		s.Value = settings.IntOf(*r.integer)
	case r.float != nil:
		s.Value = settings.FloatOf(*r.float)
	case r.text != nil:
		s.Value = settings.TextOf(*r.text)
	case r.time != nil:
		s.Value = settings.TimeOf(*r.time)
	case r.json != nil:
		s.Value = settings.JSONOf(*r.json)
	}
	return s
}

func orZero[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
