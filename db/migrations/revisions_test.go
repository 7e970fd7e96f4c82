package migrations_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"platform-settings/test/pgtest"
)

// Guarantee 1: one transaction is one revision and one notification, no matter by which
// SQL. A transaction that changes nothing makes neither.
func TestOneCommitIsOneRevisionAndOneNotification(t *testing.T) {
	const on = `UPDATE platform_settings SET value_bool = true WHERE key = 'maintenance_mode';`
	const off = `UPDATE platform_settings SET value_bool = false WHERE key = 'maintenance_mode';`
	const add = `INSERT INTO platform_settings (key, value_int) VALUES ('n', 1);`
	for name, test := range map[string]struct {
		sql  string
		want string // the changed keys; "" for no revision
	}{
		"update":                       {on, "maintenance_mode"},
		"insert":                       {add, "n"},
		"delete":                       {`DELETE FROM platform_settings`, "-maintenance_mode"},
		"truncate":                     {`TRUNCATE platform_settings`, "-maintenance_mode"},
		"truncate and refill":          {`BEGIN; TRUNCATE platform_settings; ` + add + `COMMIT`, "-maintenance_mode n"},
		"on conflict do update":        {`INSERT INTO platform_settings (key, value_bool) VALUES ('maintenance_mode', true) ON CONFLICT (key) DO UPDATE SET value_bool = excluded.value_bool`, "maintenance_mode"},
		"on conflict do nothing":       {`INSERT INTO platform_settings (key, value_bool) VALUES ('maintenance_mode', true) ON CONFLICT DO NOTHING`, ""},
		"rename":                       {`UPDATE platform_settings SET key = 'renamed', value_bool = true`, "-maintenance_mode renamed"},
		"many statements":              {`BEGIN;` + on + add + `UPDATE platform_settings SET value_int = 2 WHERE key = 'n'; COMMIT`, "maintenance_mode n"},
		"description only":             {`UPDATE platform_settings SET description = 'new'`, "maintenance_mode"},
		"savepoint rolled back":        {`BEGIN; SAVEPOINT a;` + on + `ROLLBACK TO a;` + add + `COMMIT`, "n"},
		"all rolled back to savepoint": {`BEGIN; SAVEPOINT a;` + on + `ROLLBACK TO a; COMMIT`, ""},
		"savepoint released":           {`BEGIN; SAVEPOINT a;` + on + `RELEASE a;` + add + `COMMIT`, "maintenance_mode n"},
		"rollback":                     {`BEGIN;` + on + `ROLLBACK`, ""},
		"same value":                   {off, ""},
		"same value, announced":        {`BEGIN; SET LOCAL settings.announce = on;` + off + `COMMIT`, "maintenance_mode"},
		"there and back, announced":    {`BEGIN; SET LOCAL settings.announce = on;` + on + off + `COMMIT`, ""},
		"changed twice":                {`BEGIN;` + off + on + on + `COMMIT`, "maintenance_mode"},
		"there, back and there":        {`BEGIN;` + on + off + on + `COMMIT`, "maintenance_mode"},
		"a stamp of one's own":         {`UPDATE platform_settings SET updated_by = 'somebody else', updated_at = '2001-01-01'`, ""},
		"there and back":               {`BEGIN;` + on + off + `COMMIT`, ""},
		"insert and delete":            {`BEGIN;` + add + `DELETE FROM platform_settings WHERE key = 'n'; COMMIT`, ""},
		"delete and insert the same":   {`BEGIN; DELETE FROM platform_settings; INSERT INTO platform_settings (key, value_bool, description) VALUES ('maintenance_mode', false, 'Answers 503 to everything but health, admin and reading settings.'); COMMIT`, ""},
		"replica role":                 {`SET session_replication_role = replica;` + on, "maintenance_mode"},
		"repeatable read":              {`BEGIN ISOLATION LEVEL REPEATABLE READ;` + on + `COMMIT`, "maintenance_mode"},
		"serializable":                 {`BEGIN ISOLATION LEVEL SERIALIZABLE;` + on + `COMMIT`, "maintenance_mode"},
		"then alter table":             {`BEGIN;` + on + `ALTER TABLE platform_settings ADD COLUMN extra int; COMMIT`, "maintenance_mode"},
		"constraints immediate before": {`BEGIN; SET CONSTRAINTS ALL IMMEDIATE;` + on + add + `COMMIT`, "maintenance_mode n"},
		"constraints immediate after":  {`BEGIN;` + on + add + `SET CONSTRAINTS ALL IMMEDIATE; COMMIT`, "maintenance_mode n"},
		"json that compares equal":     {`UPDATE platform_settings SET value_json = '1' WHERE key = 'j'`, "j"},
		"do block with an exception":   {`DO $$ BEGIN BEGIN ` + on + ` RAISE 'no'; EXCEPTION WHEN OTHERS THEN NULL; END; ` + add + ` END $$`, "n"},
		"maintenance_on":               {`SELECT maintenance_on('m')`, "maintenance_message maintenance_mode"},
	} {
		t.Run(name, func(t *testing.T) {
			url := pgtest.Database(t)
			ear, dba, other := listen(t, url), pgtest.Connect(t, url), pgtest.Connect(t, url)
			if test.want == "j" {
				pgtest.Exec(t, dba, `INSERT INTO platform_settings (key, value_json) VALUES ('j', '1.0')`)
				ear.upTo(other)
			}
			before := revision(t, dba)
			pgtest.Exec(t, dba, test.sql)
			heard := ear.upTo(other)
			want := 0
			if test.want != "" {
				want = 1
			}
			if got := revision(t, dba) - before; got != want || len(heard) != want {
				t.Fatalf("%d revisions, %d notifications, want %d of each", got, len(heard), want)
			}
			if want == 0 {
				return
			}
			var keys []string
			for _, ch := range heard[0].Changes {
				if ch.Deleted {
					keys = append(keys, "-"+ch.Key)
					continue
				}
				var current bool
				err := dba.QueryRow(t.Context(), `SELECT coalesce(to_jsonb(value_bool), to_jsonb(value_int), to_jsonb(value_text), value_json)::text = $2
					FROM platform_settings WHERE key = $1`, ch.Key, string(ch.Value)).Scan(&current)
				if err != nil || !current {
					t.Errorf("%s is announced as %s, but the table has another value; %v", ch.Key, ch.Value, err)
				}
				keys = append(keys, ch.Key)
			}
			var history []string
			rows, _ := dba.Query(t.Context(), `SELECT CASE WHEN after IS NULL THEN '-' ELSE '' END || key FROM settings_history WHERE revision = $1 ORDER BY 1`, before+1)
			history, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(history, " "); got != test.want {
				t.Errorf("the history names %q, want %q", got, test.want)
			}
			if len(keys) != len(history) {
				t.Errorf("announced %q, the history has %q", keys, history)
			}
		})
	}
}

// Guarantee 1: if somebody's own trigger answers a change with another one, that
// other one is recorded first. The history must still say how the row ended up.
func TestTheHistoryEndsWithTheRowAsATriggerLeftIt(t *testing.T) {
	url := pgtest.Database(t)
	ear, dba, other := listen(t, url), pgtest.Connect(t, url), pgtest.Connect(t, url)
	pgtest.Exec(t, dba, `INSERT INTO platform_settings (key, value_int) VALUES ('n', 7), ('kept', 1);
		CREATE FUNCTION house_rules() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			UPDATE platform_settings SET value_int = 100 WHERE key = NEW.key AND value_int > 100;
			IF OLD.key = 'kept' AND NEW.key IS DISTINCT FROM 'kept' THEN
				INSERT INTO platform_settings (key, value_int) VALUES ('kept', OLD.value_int + 1);
			END IF;
			RETURN NULL;
		END $$;
		CREATE TRIGGER house_rules AFTER INSERT OR UPDATE OR DELETE ON platform_settings FOR EACH ROW EXECUTE FUNCTION house_rules()`)
	ear.upTo(other)
	for _, test := range []struct{ sql, history, heard string }{
		{`UPDATE platform_settings SET value_int = 500 WHERE key = 'n'`, "n 7 100", "n 100"},
		{`BEGIN; UPDATE platform_settings SET value_int = 1 WHERE key = 'n'; UPDATE platform_settings SET value_int = 600 WHERE key = 'n'; COMMIT`, "", ""},
		{`INSERT INTO platform_settings (key, value_int) VALUES ('fresh', 700)`, "fresh - 100", "fresh 100"},
		{`DELETE FROM platform_settings WHERE key = 'kept'`, "kept 1 2", "kept 2"},
		{`UPDATE platform_settings SET key = 'moved', value_int = 800 WHERE key = 'n'`, "moved - 100, n 100 -", "moved 100, n -"},
		{`UPDATE platform_settings SET key = 'gone' WHERE key = 'kept'`, "gone - 2, kept 2 3", "gone 2, kept 3"},
		{`BEGIN; UPDATE platform_settings SET key = 'n' WHERE key = 'moved'; UPDATE platform_settings SET key = 'moved' WHERE key = 'n'; COMMIT`, "", ""},
		{`BEGIN; UPDATE platform_settings SET key = 'n' WHERE key = 'moved'; DELETE FROM platform_settings WHERE key = 'n'; COMMIT`, "moved 100 -", "moved -"},
	} {
		before := revision(t, dba)
		pgtest.Exec(t, dba, test.sql)
		var history string // key, before, after
		err := dba.QueryRow(t.Context(), `SELECT coalesce(string_agg(concat_ws(' ', key, coalesce(before ->> 'value_int', '-'), coalesce(after ->> 'value_int', '-')), ', ' ORDER BY key), '')
			FROM settings_history WHERE revision > $1`, before).Scan(&history)
		if err != nil || history != test.history {
			t.Errorf("%s: the history says %q, %v, want %q", test.sql, history, err, test.history)
		}
		var heard []string // key, value
		for _, a := range ear.upTo(other) {
			for _, c := range a.Changes {
				value := "-"
				if !c.Deleted {
					value = string(c.Value)
				}
				heard = append(heard, c.Key+" "+value)
			}
		}
		slices.Sort(heard)
		if got := strings.Join(heard, ", "); got != test.heard {
			t.Errorf("%s: announced %q, want %q", test.sql, got, test.heard)
		}
	}
}

// Guarantee 1.
func TestCopyAndMergeAreOneCommitEach(t *testing.T) {
	url := pgtest.Database(t)
	ear, dba := listen(t, url), pgtest.Connect(t, url)
	n, err := dba.CopyFrom(t.Context(), pgx.Identifier{"platform_settings"}, []string{"key", "value_int"},
		pgx.CopyFromSlice(50, func(i int) ([]any, error) { return []any{fmt.Sprintf("k%d", i), i}, nil }))
	if err != nil || n != 50 {
		t.Fatal(n, err)
	}
	want := 1
	var version int
	if err := dba.QueryRow(t.Context(), `SELECT current_setting('server_version_num')::int`).Scan(&version); err != nil {
		t.Fatal(err)
	}
	if version >= 150000 {
		want = 2
		pgtest.Exec(t, dba, `MERGE INTO platform_settings s USING (VALUES ('k1', 7), ('new', 8)) v (key, n) ON s.key = v.key
			WHEN MATCHED THEN UPDATE SET value_int = v.n WHEN NOT MATCHED THEN INSERT (key, value_int) VALUES (v.key, v.n)`)
	}
	if heard := ear.upTo(dba); len(heard) != want || revision(t, dba) != 1+want {
		t.Errorf("%d notifications, revision %d", len(heard), revision(t, dba))
	}
}

// Guarantee 1: a logical subscriber's changes count, although its apply worker
// runs as a replica.
func TestALogicalSubscribersChangesCount(t *testing.T) {
	source, target := pgtest.Database(t), pgtest.Database(t)
	publisher, subscriber := pgtest.Connect(t, source), pgtest.Connect(t, target)
	pgtest.Exec(t, publisher, `CREATE PUBLICATION p FOR TABLE platform_settings`)
	slot := publisher.Config().Database // unique in the server, as a slot's name must be
	pgtest.Exec(t, publisher, `SELECT pg_create_logical_replication_slot('`+slot+`', 'pgoutput')`)
	ear := listen(t, target)
	pgtest.Exec(t, subscriber, fmt.Sprintf(`CREATE SUBSCRIPTION %s CONNECTION '%s' PUBLICATION p
		WITH (create_slot = false, slot_name = '%s', copy_data = false)`, slot, source, slot))
	t.Cleanup(func() {
		ctx := context.Background()
		for _, sql := range []string{`ALTER SUBSCRIPTION ` + slot + ` DISABLE`, `ALTER SUBSCRIPTION ` + slot + ` SET (slot_name = NONE)`, `DROP SUBSCRIPTION ` + slot} {
			if _, err := subscriber.Exec(ctx, sql); err != nil {
				t.Error(err)
			}
		}
		if _, err := publisher.Exec(ctx, `SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '`+slot+`' AND active_pid IS NOT NULL`); err != nil {
			t.Error(err)
		}
		for { // the slot's walsender may still be ending
			if _, err := publisher.Exec(ctx, `SELECT pg_drop_replication_slot('`+slot+`')`); err == nil {
				break
			}
		}
	})
	pgtest.Exec(t, publisher, `BEGIN; INSERT INTO platform_settings (key, value_int) VALUES ('n', 1);
		UPDATE platform_settings SET value_bool = true WHERE key = 'maintenance_mode'; COMMIT`)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	n, err := ear.conn.WaitForNotification(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(n.Payload, `"revision" : 2`) || revision(t, subscriber) != 2 {
		t.Errorf("revision %d, announced %s", revision(t, subscriber), n.Payload)
	}
}

// Guarantee 1: revisions have no gap, are in commit order, and are announced in that
// order, even if many write at once.
func TestRevisionsAreGaplessAndInCommitOrder(t *testing.T) {
	url := pgtest.Database(t)
	ear := listen(t, url)
	const writers, each = 12, 40
	var wg sync.WaitGroup
	for w := range writers {
		conn := pgtest.Connect(t, url)
		wg.Go(func() {
			for i := range each {
				a, b := fmt.Sprintf("k%d", rand.N(5)), fmt.Sprintf("w%d", w)
				batch := &pgx.Batch{}
				batch.Queue(`BEGIN`)
				batch.Queue(`INSERT INTO platform_settings (key, value_int) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value_int = excluded.value_int`, b, i)
				batch.Queue(`SAVEPOINT s`)
				batch.Queue(`INSERT INTO platform_settings (key, value_int) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value_int = excluded.value_int`, a, w*1000+i)
				if i%3 == 0 {
					batch.Queue(`ROLLBACK TO s`)
				}
				end := `COMMIT`
				if i%5 == 4 {
					end = `ROLLBACK`
				}
				batch.Queue(end)
				if err := conn.SendBatch(t.Context(), batch).Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	conn := pgtest.Connect(t, url)
	const want = writers * each * 4 / 5
	if got := revision(t, conn); got != 1+want {
		t.Errorf("revision %d, want %d", got, 1+want)
	}
	for i, a := range ear.upTo(conn) {
		if a.Revision != i+2 {
			t.Fatalf("notification %d announces revision %d, want %d", i, a.Revision, i+2)
		}
	}
	// Each key's last change in the history must be what the table holds.
	var wrong int
	err := conn.QueryRow(t.Context(), `SELECT count(*) FROM platform_settings s
		WHERE (SELECT h.after ->> 'value_int' FROM settings_history h WHERE h.key = s.key ORDER BY h.revision DESC LIMIT 1) IS DISTINCT FROM s.value_int::text`).Scan(&wrong)
	if err != nil || wrong != 0 {
		t.Errorf("%d settings differ from their last change, %v", wrong, err)
	}
}

// Guarantee 2: NOTIFY's limit of 8000 bytes never makes a write fail, not even with
// characters of several bytes (PostgreSQL manual, NOTIFY).
func TestNoPayloadHarmsItsWriter(t *testing.T) {
	url := pgtest.Database(t)
	ear, dba := listen(t, url), pgtest.Connect(t, url)
	pgtest.Exec(t, dba, `INSERT INTO platform_settings (key, value_text) VALUES ('t', '')`)
	carried, left := 0, 0
	for n := 7400; n <= 8100; n += 7 {
		for _, text := range []string{strings.Repeat("x", n), strings.Repeat("€", n/3), strings.Repeat(`"`, n/2)} {
			pgtest.Exec(t, dba, `UPDATE platform_settings SET value_text = $1 WHERE key = 't'`, text)
		}
	}
	for _, a := range ear.upTo(dba) {
		if a.Changes == nil {
			left++
		} else {
			carried++
		}
	}
	if carried == 0 || left == 0 {
		t.Errorf("%d carried, %d left out: the sizes do not straddle the limit", carried, left)
	}

	// A commit of many small changes is carried whole, or not at all.
	pgtest.Exec(t, dba, `INSERT INTO platform_settings (key, value_int) SELECT 'n' || i, i FROM generate_series(1, 150) i`)
	ear.upTo(dba)
	pgtest.Exec(t, dba, `DELETE FROM platform_settings WHERE value_int IS NOT NULL`)
	if heard := ear.upTo(dba); len(heard) != 1 || len(heard[0].Changes) != 0 && len(heard[0].Changes) != 150 {
		t.Errorf("heard %v, want all of 150 keys, or none", heard)
	}
}

// Guarantee 2: an open transaction holds no lock that a writer of another key needs.
func TestAnOpenTransactionDelaysNoOtherKeysWriter(t *testing.T) {
	url := pgtest.Database(t)
	idle, other := pgtest.Connect(t, url), pgtest.Connect(t, url)
	pgtest.Exec(t, other, `INSERT INTO platform_settings (key, value_int) VALUES ('n', 1)`)
	for _, first := range []string{``, `SET CONSTRAINTS ALL IMMEDIATE`} {
		pgtest.Exec(t, idle, `BEGIN`)
		pgtest.Exec(t, idle, first)
		pgtest.Exec(t, idle, `UPDATE platform_settings SET value_bool = NOT value_bool WHERE key = 'maintenance_mode'`)
		pgtest.Exec(t, other, `SET lock_timeout = '2s'`)
		pgtest.Exec(t, other, `UPDATE platform_settings SET value_int = value_int + 1 WHERE key = 'n'`)
		pgtest.Exec(t, idle, `COMMIT`)
	}
	if got := revision(t, other); got != 6 {
		t.Errorf("revision %d, want 6", got)
	}
}

// Guarantee 1: at REPEATABLE READ a transaction does not see rows that were committed
// after its snapshot, but TRUNCATE removes them. They could get no revision, so
// TRUNCATE has to fail.
func TestTruncateTakesNoRowUnseen(t *testing.T) {
	for _, level := range []string{"REPEATABLE READ", "SERIALIZABLE"} {
		url := pgtest.Database(t)
		dba, other := pgtest.Connect(t, url), pgtest.Connect(t, url)
		pgtest.Exec(t, dba, `DELETE FROM platform_settings`)
		for _, since := range []bool{true, false} {
			pgtest.Exec(t, dba, `BEGIN ISOLATION LEVEL `+level)
			pgtest.Exec(t, dba, `SELECT FROM platform_settings`) // takes the snapshot
			if since {
				pgtest.Exec(t, other, `INSERT INTO platform_settings (key, value_int) VALUES ('since', 1)`)
			}
			_, err := dba.Exec(t.Context(), `TRUNCATE platform_settings`)
			pg, _ := errors.AsType[*pgconn.PgError](err)
			if failed := pg != nil && pg.Code == "40001"; failed != since || err != nil && !failed {
				t.Errorf("%s, a commit since the snapshot: %v: %v", level, since, err)
			}
			_, _ = dba.Exec(t.Context(), `COMMIT`) // after a failure, a ROLLBACK
			var table, history int
			err = other.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM platform_settings),
				(SELECT count(*) FROM (SELECT DISTINCT ON (key) after FROM settings_history ORDER BY key, revision DESC) h WHERE after IS NOT NULL)`).Scan(&table, &history)
			if err != nil || table != history || since && table != 1 || !since && table != 0 {
				t.Errorf("%s: %d rows, %d by the history, %v", level, table, history, err)
			}
		}
	}
}
