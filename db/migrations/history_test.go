package migrations_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"platform-settings/test/pgtest"
)

func TestHistoryTellsWhoWhatWhenAndWhy(t *testing.T) {
	conn := pgtest.Connect(t, pgtest.Database(t))
	pgtest.Exec(t, conn, `BEGIN; SET LOCAL settings.reason = 'deploy 42'; SET LOCAL settings.actor = 'alice';
		UPDATE platform_settings SET value_bool = true; COMMIT`)
	pgtest.Exec(t, conn, `UPDATE platform_settings SET value_bool = false`)
	rows, _ := conn.Query(t.Context(), `
		SELECT format('%s %s %s %s %s->%s %s', revision, actor, coalesce(reason, '-'), key, before ->> 'value_bool', after ->> 'value_bool', at <= clock_timestamp())
		  FROM settings_history ORDER BY revision`)
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"1 postgres the settings that stood when history began maintenance_mode ->false t",
		"2 alice deploy 42 maintenance_mode false->true t",
		"3 postgres - maintenance_mode true->false t",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var by string
	if err := conn.QueryRow(t.Context(), `SELECT updated_by FROM platform_settings`).Scan(&by); err != nil || by != "postgres" {
		t.Errorf("updated_by %q, %v", by, err)
	}

	// Pruning keeps the latest change of each key.
	pgtest.Exec(t, conn, `INSERT INTO platform_settings (key, value_int) VALUES ('n', 1)`)
	var pruned int
	if err := conn.QueryRow(t.Context(), `SELECT settings_history_prune('0')`).Scan(&pruned); err != nil || pruned != 2 {
		t.Errorf("%d commits pruned, %v, want 2", pruned, err)
	}
	rows, _ = conn.Query(t.Context(), `SELECT revision FROM settings_history ORDER BY 1`)
	if left, err := pgx.CollectRows(rows, pgx.RowTo[int]); err != nil || !cmp.Equal(left, []int{3, 4}) {
		t.Errorf("left %v, %v, want the latest of each key, 3 and 4", left, err)
	}
}

func TestMaintenanceFunctionsSayItInWords(t *testing.T) {
	conn := pgtest.Connect(t, pgtest.Database(t))
	state := func() (s string) {
		t.Helper()
		err := conn.QueryRow(t.Context(), `SELECT string_agg(concat(replace(key, 'maintenance_', ''), '=', value_bool, value_int, value_text, value_time IS NOT NULL), ' ' ORDER BY key) FROM platform_settings`).Scan(&s)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, step := range []struct{ sql, want string }{
		{`SELECT maintenance_on('back soon', reason => 'deploy')`, "message=back soonf mode=tf"},
		{`SELECT maintenance_on(read_only => true)`, "mode=tf read_only=tf"},
		{`SELECT maintenance_on()`, "mode=tf"},
		{`INSERT INTO platform_settings (key, value_time) VALUES ('maintenance_starts_at', now()), ('maintenance_ends_at', now() + '1h');
		  INSERT INTO platform_settings (key, value_int) VALUES ('maintenance_retry_after', 5)`, "ends_at=t mode=tf retry_after=5f starts_at=t"},
		{`SELECT maintenance_off(reason => 'done')`, "mode=ff retry_after=5f"},
		{`DELETE FROM platform_settings; SELECT maintenance_on('m')`, "message=mf mode=tf"},
	} {
		pgtest.Exec(t, conn, step.sql)
		if got := state(); got != step.want {
			t.Errorf("%s: %q, want %q", step.sql, got, step.want)
		}
	}
}
