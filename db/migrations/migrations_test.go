package migrations_test

import (
	"context"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"platform-settings/db/migrations"
	"platform-settings/test/pgtest"
)

// schema lists the objects in the schema public, one a line, without anything that
// depends on when or how they were made.
func schema(t *testing.T, url string) string {
	t.Helper()
	conn := pgtest.Connect(t, url)
	rows, err := conn.Query(t.Context(), `
		SELECT line FROM (
		  SELECT 'column ' || c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
		         || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END || ' collation ' || a.attcollation::regcollation
		         || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '') || ' identity "' || a.attidentity::text
		         || '" comment: ' || coalesce(col_description(c.oid, a.attnum), '')
		    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		    LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
		   WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v')
		  UNION ALL
		  SELECT 'relation ' || relname || ' ' || relkind::text || ' ' || coalesce(reloptions::text, '') || ' acl ' || coalesce(relacl::text, '')
		         || CASE relkind WHEN 'v' THEN pg_get_viewdef(oid) ELSE '' END || ' comment: ' || coalesce(obj_description(oid, 'pg_class'), '')
		    FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'S')
		  UNION ALL
		  SELECT 'index ' || pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class c ON c.oid = indrelid
		   WHERE c.relnamespace = 'public'::regnamespace
		  UNION ALL
		  SELECT 'constraint ' || conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
		    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
		  UNION ALL
		  SELECT 'trigger ' || tgenabled::text || ' ' || pg_get_triggerdef(oid) FROM pg_trigger
		   WHERE NOT tgisinternal
		  UNION ALL
		  SELECT 'function ' || pg_get_functiondef(p.oid) || ' acl ' || coalesce(proacl::text, '')
		         || ' comment: ' || coalesce(obj_description(p.oid, 'pg_proc'), '')
		    FROM pg_proc p WHERE pronamespace = 'public'::regnamespace
		) x (line) WHERE line !~ 'schema_migrations' ORDER BY line`)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

func TestUpDownAndUpAgainLeavesTheSameSchema(t *testing.T) {
	url := pgtest.Database(t)
	first := schema(t, url)
	if !strings.Contains(first, "platform_settings_pkey") {
		t.Fatalf("the listing lacks what it should show:\n%s", first)
	}
	if err := migrations.Down(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	if left := schema(t, url); left != "" {
		t.Errorf("down left:\n%s", left)
	}
	if version, _, err := migrations.Version(t.Context(), url); err != nil || version != 0 {
		t.Errorf("version %d, %v, want 0", version, err)
	}
	for range 2 { // the second time there is nothing to do
		if err := migrations.Up(t.Context(), url, zap.NewNop()); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(first, schema(t, url)); diff != "" {
		t.Errorf("(-first +again):\n%s", diff)
	}
	if version, dirty, err := migrations.Version(t.Context(), url); err != nil || version != migrations.Latest() || dirty {
		t.Errorf("version %d, dirty %v, %v", version, dirty, err)
	}
}

func TestTheDumpIsWhatTheMigrationsAddUpTo(t *testing.T) {
	dump, err := os.ReadFile("../schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	url := pgtest.Empty(t)
	if _, err := pgtest.Connect(t, url).Exec(t.Context(), string(dump)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(schema(t, pgtest.Database(t)), schema(t, url)); diff != "" {
		t.Errorf("db/schema.sql is out of date; make schema writes it anew (-migrations +dump):\n%s", diff)
	}
}

// Every file may be run again, even by hand, on a database that is in use.
func TestRunningTheFilesAgainChangesNothing(t *testing.T) {
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	pgtest.Exec(t, conn, `UPDATE platform_settings SET value_bool = true, public = true`)
	pgtest.Exec(t, conn, `INSERT INTO platform_settings (key, value_int) VALUES ('n', 1)`)
	contents := `SELECT (SELECT jsonb_agg(s ORDER BY key)::text FROM platform_settings s)
		|| (SELECT h::text FROM settings_head h) || (SELECT count(*) FROM settings_history)`
	var before, after string
	if err := conn.QueryRow(t.Context(), contents).Scan(&before); err != nil {
		t.Fatal(err)
	}
	schemaBefore := schema(t, url)
	for _, file := range []string{"976_platform_settings", "977_settings_revisions", "978_maintenance_functions", "979_truncate_at_repeatable_read", "980_settings_fleet", "981_history_is_written_once", "982_rules_of_columns", "983_commit_looks_less", "976_platform_settings"} {
		up(t, conn, file)
	}
	if err := conn.QueryRow(t.Context(), contents).Scan(&after); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("contents (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(schemaBefore, schema(t, url)); diff != "" {
		t.Errorf("schema (-before +after):\n%s", diff)
	}
}

func TestTwentyPodsMigrateAnEmptyDatabaseAtOnce(t *testing.T) {
	url := pgtest.Empty(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := migrations.Up(t.Context(), url, zap.NewNop()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	conn := pgtest.Connect(t, url)
	var revision, rows int
	err := conn.QueryRow(t.Context(), `SELECT (SELECT revision FROM settings_head), (SELECT count(*) FROM platform_settings)`).Scan(&revision, &rows)
	if err != nil || revision != 1 || rows != 1 {
		t.Errorf("revision %d, %d settings, %v, want one of each", revision, rows, err)
	}
}

func TestANewerSchemaIsLeftAloneWithAWarning(t *testing.T) {
	url := pgtest.Database(t)
	pgtest.Exec(t, pgtest.Connect(t, url), `UPDATE schema_migrations SET version = 2000`)
	core, logs := observer.New(zap.WarnLevel)
	if err := migrations.Up(t.Context(), url, zap.New(core)); err != nil {
		t.Error(err)
	}
	if logs.FilterMessageSnippet("newer than this binary").Len() != 1 {
		t.Errorf("logged %v", logs.All())
	}
}

func TestADirtySchemaIsNamedAndNotForced(t *testing.T) {
	url := pgtest.Database(t)
	pgtest.Exec(t, pgtest.Connect(t, url), `UPDATE schema_migrations SET dirty = true`)
	err := migrations.Up(t.Context(), url, zap.NewNop())
	if err == nil || !strings.Contains(err.Error(), "dirty at version 983") {
		t.Errorf("%v, want an error that names version 983", err)
	}
}

func TestUpStopsWaitingWhenItsContextEnds(t *testing.T) {
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	pgtest.Exec(t, conn, `BEGIN; LOCK TABLE schema_migrations`)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- migrations.Up(ctx, url, zap.NewNop()) }()
	cancel()
	if err := <-done; err == nil {
		t.Error("no error")
	}
	pgtest.Exec(t, conn, `ROLLBACK`)
}

// A deadlock would make the migration fail.
func TestMigratingUnderPodsAndWritersNeverDeadlocks(t *testing.T) {
	for range 3 {
		url := pgtest.Empty(t)
		conn := pgtest.Connect(t, url)
		for _, file := range []string{"976_platform_settings", "977_settings_revisions", "978_maintenance_functions", "979_truncate_at_repeatable_read", "980_settings_fleet"} {
			up(t, conn, file)
		}
		pgtest.Exec(t, conn, `INSERT INTO platform_settings (key, value_int) SELECT 'k' || i, i FROM generate_series(1, 500) i`)

		ctx, cancel := context.WithCancel(t.Context())
		var busy sync.WaitGroup
		var statements atomic.Int64
		for _, sql := range []string{
			// These are as pods send them, to read and to poll.
			`SELECT h.revision, (SELECT c.at FROM settings_commits c WHERE c.revision = h.revision), s.key,
				(SELECT max(ch.revision) FROM settings_changes ch WHERE ch.key = s.key)
			   FROM (SELECT revision FROM settings_head LIMIT 1) h LEFT JOIN platform_settings s ON true`,
			`SELECT h.revision, (SELECT count(*) FROM platform_settings), (SELECT max(c.at) FROM settings_commits c) FROM settings_head h`,
			`UPDATE platform_settings SET value_int = value_int + 1 WHERE key = 'k1'`,
			`UPDATE platform_settings SET value_int = value_int + 1 WHERE key IN ('k2', 'k3')`,
		} {
			other := pgtest.Connect(t, url)
			busy.Go(func() {
				for ctx.Err() == nil {
					if _, err := other.Exec(t.Context(), sql); err != nil {
						t.Errorf("%s: %v", sql, err)
						return
					}
					statements.Add(1)
				}
			})
		}
		for _, file := range []string{"981_history_is_written_once", "982_rules_of_columns", "983_commit_looks_less"} {
			before := statements.Load()
			for statements.Load() < before+40 && !t.Failed() {
				time.Sleep(time.Millisecond)
			}
			up(t, conn, file)
		}
		cancel()
		busy.Wait()
		var revision, commits, pending int
		err := conn.QueryRow(t.Context(), `SELECT (SELECT revision FROM settings_head),
			(SELECT count(DISTINCT revision) FROM settings_history), (SELECT count(*) FROM settings_pending)`).Scan(&revision, &commits, &pending)
		if err != nil || commits != revision || pending != 0 {
			t.Errorf("revision %d, %d commits in the history, %d changes pending, %v", revision, commits, pending, err)
		}
	}
}

// A migration that the server refuses leaves the schema at the previous version. The next
// attempt goes on from there.
func TestAMigrationThatFailsLeavesTheSchemaClean(t *testing.T) {
	url := pgtest.Empty(t)
	conn := pgtest.Connect(t, url)
	pgtest.Exec(t, conn, `CREATE TABLE settings_pods (something int)`) // conflicts with 980's table
	if err := migrations.Up(t.Context(), url, zap.NewNop()); err == nil {
		t.Fatal("it worked")
	}
	if version, dirty, err := migrations.Version(t.Context(), url); version != 979 || dirty || err != nil {
		t.Errorf("version %d, dirty: %t, %v; want 979, clean", version, dirty, err)
	}
	pgtest.Exec(t, conn, `DROP TABLE settings_pods`)
	if err := migrations.Up(t.Context(), url, zap.NewNop()); err != nil {
		t.Error(err)
	}
}

// If somebody has made a view of the table, its columns cannot be altered. Pods must
// start even so.
func TestAViewOnTheTableDoesNotStopTheMigration(t *testing.T) {
	url := pgtest.Empty(t)
	conn := pgtest.Connect(t, url)
	up(t, conn, "976_platform_settings")
	pgtest.Exec(t, conn, `CREATE VIEW mine AS SELECT key, value_text FROM platform_settings`)
	for range 2 {
		if err := migrations.Up(t.Context(), url, zap.NewNop()); err != nil {
			t.Fatal(err)
		}
		pgtest.Exec(t, conn, `INSERT INTO platform_settings (key, value_int) VALUES ('n', 1) ON CONFLICT (key) DO UPDATE SET value_int = 2`)
		for _, sql := range []string{
			`INSERT INTO platform_settings (key, value_int) VALUES ('Bad', 1)`,
			`INSERT INTO platform_settings (key, value_int) VALUES ('maintenance_read_only', 1)`,
		} {
			if _, err := conn.Exec(t.Context(), sql); err == nil {
				t.Errorf("%s: allowed", sql)
			}
		}
	}
}

// A migration waits for a transaction that holds the table, but lets other transactions
// through meanwhile.
func TestAMigrationThatWaitsHoldsNobodyUpForLong(t *testing.T) {
	url := pgtest.Empty(t)
	conn, holder, reader := pgtest.Connect(t, url), pgtest.Connect(t, url), pgtest.Connect(t, url)
	for _, file := range []string{"976_platform_settings", "977_settings_revisions", "978_maintenance_functions", "979_truncate_at_repeatable_read", "980_settings_fleet"} {
		up(t, conn, file)
	}
	pgtest.Exec(t, holder, `BEGIN; SELECT FROM platform_settings`)
	sql, err := os.ReadFile("981_history_is_written_once.up.sql")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { _, err := conn.Exec(t.Context(), string(sql)); done <- err }()
	pgtest.Exec(t, reader, `SET statement_timeout = '10s'`)
	for range 10 { // some of these come while the migration waits for its lock
		pgtest.Exec(t, reader, `SELECT FROM platform_settings; SELECT pg_sleep(0.05)`)
	}
	select {
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	default:
	}
	pgtest.Exec(t, holder, `COMMIT`)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// up runs one file.
func up(t *testing.T, conn *pgx.Conn, file string) {
	t.Helper()
	sql, err := os.ReadFile(file + ".up.sql")
	if err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, conn, string(sql))
}
