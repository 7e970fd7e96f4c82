package migrations_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"platform-settings/test/pgtest"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// announced is what a notification says.
type announced struct {
	Revision int
	Changes  []struct {
		Key     string
		Deleted bool
		Value   json.RawMessage
	}
}

// ear hears the notifications of a database.
type ear struct {
	t    *testing.T
	conn *pgx.Conn
}

func listen(t *testing.T, url string) ear {
	conn := pgtest.Connect(t, url)
	var channel string
	if err := conn.QueryRow(t.Context(), `SELECT channel FROM settings_head`).Scan(&channel); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, conn, `LISTEN `+pgx.Identifier{channel}.Sanitize())
	return ear{t, conn}
}

// upTo is all that was announced up to, and with, a marker that it sends itself:
// so it also hears that nothing was.
func (e ear) upTo(marker *pgx.Conn) (heard []announced) {
	e.t.Helper()
	pgtest.Exec(e.t, marker, `SELECT pg_notify((SELECT channel FROM settings_head), '{"revision": -1}')`)
	ctx, cancel := context.WithTimeout(e.t.Context(), patience)
	defer cancel()
	for {
		n, err := e.conn.WaitForNotification(ctx)
		if err != nil {
			e.t.Fatal(err)
		}
		if len(n.Payload) >= 8000 {
			e.t.Errorf("a payload of %d bytes", len(n.Payload))
		}
		var a announced
		if err := json.Unmarshal([]byte(n.Payload), &a); err != nil {
			e.t.Fatalf("%v: %s", err, n.Payload)
		}
		if a.Revision == -1 {
			return heard
		}
		heard = append(heard, a)
	}
}

func revision(t *testing.T, conn *pgx.Conn) (r int) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), `SELECT revision FROM settings_head`).Scan(&r); err != nil {
		t.Fatal(err)
	}
	return r
}

// Guarantee 1: whatever SQL it is, one transaction is one revision and one
// notification; and one that changes nothing is none.
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
					t.Errorf("%s is announced as %s, which it is not; %v", ch.Key, ch.Value, err)
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

// A change that somebody's own trigger makes in reply to another is noted before
// that other is.
func TestAChangeWithinAChangeIsTheOneThatStands(t *testing.T) {
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
	slot := publisher.Config().Database // one name for slot and subscription; slots belong to the server
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
		for { // its walsender may still be leaving
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

// Guarantee 1: revisions have no gap, are in commit order, and are announced in
// it, however many write at once.
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
	// What each key's last change says is what the table holds.
	var wrong int
	err := conn.QueryRow(t.Context(), `SELECT count(*) FROM platform_settings s
		WHERE (SELECT h.after ->> 'value_int' FROM settings_history h WHERE h.key = s.key ORDER BY h.revision DESC LIMIT 1) IS DISTINCT FROM s.value_int::text`).Scan(&wrong)
	if err != nil || wrong != 0 {
		t.Errorf("%d settings differ from their last change, %v", wrong, err)
	}
}

// Guarantee 2: NOTIFY's limit of 8000 bytes, not characters, never reaches the
// writer.
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

	// Of many keys that would take little, all are carried or none.
	pgtest.Exec(t, dba, `INSERT INTO platform_settings (key, value_int) SELECT 'n' || i, i FROM generate_series(1, 150) i`)
	ear.upTo(dba)
	pgtest.Exec(t, dba, `DELETE FROM platform_settings WHERE value_int IS NOT NULL`)
	if heard := ear.upTo(dba); len(heard) != 1 || len(heard[0].Changes) != 0 && len(heard[0].Changes) != 150 {
		t.Errorf("heard %v, want all of 150 keys, or none", heard)
	}
}

// Guarantee 2: no shared lock before COMMIT.
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

func TestChangesAfterTheCommitWasNumberedAreRefused(t *testing.T) {
	conn := pgtest.Connect(t, pgtest.Database(t))
	pgtest.Exec(t, conn, `BEGIN; UPDATE platform_settings SET value_bool = true; SET CONSTRAINTS ALL IMMEDIATE;
		UPDATE platform_settings SET description = 'more'`)
	_, err := conn.Exec(t.Context(), `COMMIT`)
	if err == nil || !strings.Contains(err.Error(), "SET CONSTRAINTS") {
		t.Errorf("%v, want it refused: a second revision would show pods half a commit", err)
	}
}

const (
	insufficientPrivilege = "42501"
	featureNotSupported   = "0A000" // a trigger function that is called by itself
	notInRequiredState    = "55000" // a view that cannot be written to
)

// Guarantee 5: a role that may change settings can neither learn the channel nor
// write history, and so neither overhear nor forge.
func TestNobodyButTheOwnerKnowsTheChannel(t *testing.T) {
	url := pgtest.Database(t)
	owner := pgtest.Connect(t, url)
	pgtest.Exec(t, owner, `GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON platform_settings TO PUBLIC; GRANT SELECT ON settings_history TO PUBLIC`)
	ear := listen(t, url)
	clerk := pgtest.Connect(t, pgtest.Role(t, url, "clerk"))
	pgtest.Exec(t, clerk, `CREATE TEMP TABLE own (LIKE public.platform_settings)`)
	for _, sql := range []string{
		`SELECT channel FROM settings_head`,
		`UPDATE settings_head SET revision = 99`,
		`INSERT INTO settings_commits DEFAULT VALUES`,
		`SELECT * FROM settings_commits`,
		`DELETE FROM settings_changes`,
		`SELECT settings_stamped(s, s) FROM platform_settings s`,
		`INSERT INTO settings_pending (key) VALUES ('k')`,
		`SELECT settings_history_prune('0')`,
		`SELECT settings_commit()`,
		`SELECT settings_row()`,
		`CREATE TRIGGER a AFTER INSERT ON own FOR EACH ROW EXECUTE FUNCTION settings_row()`,
		`CREATE TRIGGER a BEFORE INSERT ON own FOR EACH ROW EXECUTE FUNCTION settings_stamp()`,
		`CREATE TRIGGER a BEFORE TRUNCATE ON own FOR EACH STATEMENT EXECUTE FUNCTION settings_truncate()`,
		`CREATE TRIGGER a AFTER INSERT ON own FOR EACH ROW EXECUTE FUNCTION settings_commit()`,
		`DELETE FROM settings_history`,
	} {
		if _, err := clerk.Exec(t.Context(), sql); err == nil {
			t.Errorf("%s: allowed", sql)
		} else if pg, _ := errors.AsType[*pgconn.PgError](err); pg == nil || !slices.Contains([]string{insufficientPrivilege, featureNotSupported, notInRequiredState}, pg.Code) {
			t.Errorf("%s: %v, want it forbidden", sql, err)
		}
	}
	pgtest.Exec(t, clerk, `UPDATE platform_settings SET value_bool = true`)
	pgtest.Exec(t, clerk, `SELECT maintenance_off(reason => 'enough')`)
	if heard := ear.upTo(owner); len(heard) != 2 {
		t.Errorf("%d notifications for its own two changes", len(heard))
	}
	var name, role, reason string
	err := owner.QueryRow(t.Context(), `SELECT actor, role, reason FROM settings_history WHERE revision = 3 AND key = 'maintenance_mode'`).Scan(&name, &role, &reason)
	if err != nil || !strings.HasPrefix(role, "clerk_") || name != role || reason != "enough" {
		t.Errorf("actor %q, role %q, reason %q, %v", name, role, reason, err)
	}

	other := pgtest.Connect(t, pgtest.Database(t)) // cloned databases share a name; migrated ones must not
	pgtest.Exec(t, other, `INSERT INTO settings_head DEFAULT VALUES ON CONFLICT (only_row) DO UPDATE SET channel = excluded.channel`)
	var a, b string
	if err := errors.Join(owner.QueryRow(t.Context(), `SELECT channel FROM settings_head`).Scan(&a),
		other.QueryRow(t.Context(), `SELECT channel FROM settings_head`).Scan(&b)); err != nil || a == b {
		t.Errorf("channels %q and %q, %v", a, b, err)
	}
}

func TestBadSQLIsRefusedWithTheRulesName(t *testing.T) {
	conn := pgtest.Connect(t, pgtest.Database(t))
	for sql, rule := range map[string]string{
		`INSERT INTO platform_settings (key, value_bool, value_int) VALUES ('k', true, 1)`: "platform_settings_exactly_one_value",
		`INSERT INTO platform_settings (key) VALUES ('k')`:                                 "platform_settings_exactly_one_value",
		`UPDATE platform_settings SET value_bool = NULL`:                                   "platform_settings_exactly_one_value",
		`UPDATE platform_settings SET value_text = 'x'`:                                    "platform_settings_exactly_one_value",
		`UPDATE platform_settings SET value_bool = NULL, value_text = 'x'`:                 "platform_settings_well_known_kind",
		`INSERT INTO platform_settings (key, value_bool) VALUES ('k', true); UPDATE platform_settings SET value_bool = NULL, value_text = 'x' WHERE key = 'k'`:                                                                                                                      "platform_settings_kind_never_changes",
		`INSERT INTO platform_settings (key, value_int) VALUES ('k', 1); UPDATE platform_settings SET key = 'maintenance_mode2', value_int = NULL, value_text = 'x' WHERE key = 'k'; UPDATE platform_settings SET value_text = NULL, value_int = 1 WHERE key = 'maintenance_mode2'`: "platform_settings_kind_never_changes",
		`INSERT INTO platform_settings (key, value_int) VALUES ('k', 1); UPDATE platform_settings SET key = 'maintenance_message' WHERE key = 'k'`:                                                                                                                                  "platform_settings_well_known_kind",
		`INSERT INTO platform_settings (key, value_text) VALUES ('maintenance_message', 'm') ON CONFLICT DO NOTHING; UPDATE platform_settings SET value_text = NULL, value_int = 1 WHERE key = 'maintenance_message'`:                                                               "platform_settings_well_known_kind",
		`INSERT INTO platform_settings (key, value_int) VALUES ('K', 1)`:                                                         "platform_settings_key_format",
		`INSERT INTO platform_settings (key, value_int) VALUES ('', 1)`:                                                          "platform_settings_key_format",
		`INSERT INTO platform_settings (key, value_int) VALUES (E'k\n', 1)`:                                                      "platform_settings_key_format",
		`INSERT INTO platform_settings (key, value_int) VALUES ('k' || repeat('x', 127), 1)`:                                     "platform_settings_key_format",
		`INSERT INTO platform_settings (key, value_text) VALUES ('k', repeat('€', 21846))`:                                       "platform_settings_text_at_most_64_kib",
		`INSERT INTO platform_settings (key, value_json) VALUES ('k', to_jsonb(repeat('x', 65535)))`:                             "platform_settings_json_at_most_64_kib",
		`INSERT INTO platform_settings (key, value_json) VALUES ('k', (repeat('[', 101) || repeat(']', 101))::jsonb)`:            "platform_settings_json_at_most_100_levels",
		`INSERT INTO platform_settings (key, value_json) VALUES ('k', (repeat('{"a":', 101) || '1' || repeat('}', 101))::jsonb)`: "platform_settings_json_at_most_100_levels",
		`INSERT INTO platform_settings (key, value_time) VALUES ('k', '0001-01-01 00:00:00+00')`:                                 "platform_settings_time_has_four_digit_year",
		`INSERT INTO platform_settings (key, value_float) VALUES ('k', 'NaN')`:                                                   "platform_settings_float_is_finite",
		`INSERT INTO platform_settings (key, value_float) VALUES ('k', '-Infinity')`:                                             "platform_settings_float_is_finite",
		`INSERT INTO platform_settings (key, value_time) VALUES ('k', 'infinity')`:                                               "platform_settings_time_has_four_digit_year",
		`INSERT INTO platform_settings (key, value_time) VALUES ('k', '0001-01-01 BC')`:                                          "platform_settings_time_has_four_digit_year",
		`INSERT INTO platform_settings (key, value_int) VALUES ('maintenance_message', 1)`:                                       "platform_settings_well_known_kind",
		`INSERT INTO platform_settings (key, value_int) VALUES ('maintenance_retry_after', 0)`:                                   "platform_settings_well_known_kind",
		`INSERT INTO platform_settings (key, value_int, description) VALUES ('k', 1, repeat('x', 4097))`:                         "platform_settings_description_at_most_4_kib",
		`INSERT INTO settings_head DEFAULT VALUES`:                                                                               "settings_head_pkey",
	} {
		_, err := conn.Exec(t.Context(), sql)
		pg, ok := errors.AsType[*pgconn.PgError](err)
		if !ok || pg.ConstraintName != rule || !strings.Contains(pg.Message, rule) {
			t.Errorf("%s:\n\t%v, want the rule %s", sql, err, rule)
		}
	}
	if got := revision(t, conn); got != 1 {
		t.Errorf("refused changes made revisions: %d", got)
	}
	pgtest.Exec(t, conn, `INSERT INTO platform_settings (key, value_text) VALUES ('k' || repeat('x', 126), repeat('x', 65536))`)
	pgtest.Exec(t, conn, `INSERT INTO platform_settings (key, value_json) VALUES ('deep', (repeat('[', 100) || repeat(']', 100))::jsonb)`)
}

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

	// Pruning keeps the latest change of each key, and is done only when asked.
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

// At REPEATABLE READ a transaction does not see what was committed since it
// began, but TRUNCATE takes it. Without a revision for it, TRUNCATE has to fail.
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
