package migrations_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"platform-settings/test/pgtest"
)

// row is a setting: all of it, its content without the stamps, and what pods receive.
type row struct {
	JSON, Content, Value string
	Digest               int64
}

func table(t *testing.T, conn *pgx.Conn) map[string]row {
	t.Helper()
	rows, _ := conn.Query(t.Context(), `SELECT key::text, to_jsonb(s)::text, (to_jsonb(s) - 'updated_at' - 'updated_by')::text,
		coalesce(value_int::text, value_bool::text), hash_record_extended(s, 0) FROM platform_settings s`)
	found := map[string]row{}
	var key string
	var r row
	if _, err := pgx.ForEachRow(rows, []any{&key, &r.JSON, &r.Content, &r.Value, &r.Digest}, func() error { found[key] = r; return nil }); err != nil {
		t.Fatal(err)
	}
	return found
}

// statement is a random statement. It uses few keys and values, so that later ones often
// undo earlier ones.
func statement(r *rand.Rand) string {
	one := func(of ...string) string { return of[r.IntN(len(of))] }
	key, other, n := one("a", "b", "c"), one("a", "b", "c", "d"), one("1", "2", "value_int")
	return one(
		`UPDATE platform_settings SET value_int = `+n+` WHERE key = '`+key+`'`,
		`UPDATE platform_settings SET value_int = value_int % 2 + 1 WHERE value_int IS NOT NULL`,
		`UPDATE platform_settings SET key = '`+other+`' WHERE key = '`+key+`'`,
		`UPDATE platform_settings SET description = 'x', updated_by = 'somebody' WHERE key = '`+key+`'`,
		`DELETE FROM platform_settings WHERE key = '`+key+`'`,
		`TRUNCATE platform_settings`,
		`INSERT INTO platform_settings (key, value_int) VALUES ('`+key+`', 1)`,
		`INSERT INTO platform_settings (key, value_int) VALUES ('`+key+`', 2) ON CONFLICT (key) DO UPDATE SET value_int = excluded.value_int`,
		`WITH d AS (DELETE FROM platform_settings WHERE key = '`+key+`' RETURNING *) INSERT INTO platform_settings SELECT * FROM d`,
		`WITH u AS (UPDATE platform_settings SET value_int = 2 WHERE key = '`+key+`' RETURNING 1) INSERT INTO platform_settings (key, value_int) SELECT '`+other+`', 1 FROM u`,
		`DO $$ BEGIN BEGIN UPDATE platform_settings SET public = NOT public; RAISE 'no'; EXCEPTION WHEN OTHERS THEN DELETE FROM platform_settings WHERE key = '`+key+`'; END; END $$`,
		`UPDATE platform_settings SET key = 'd' WHERE key = 'a'; UPDATE platform_settings SET key = 'a' WHERE key = 'b'; UPDATE platform_settings SET key = 'b' WHERE key = 'd'`,
		`SAVEPOINT other; UPDATE platform_settings SET value_int = 2 WHERE key = '`+key+`'; ROLLBACK TO other`,
	)
}

// Guarantee 1, for random SQL: the rows that differ after a transaction are those that
// the history has under its revision, and those that are announced. If none differ, there
// is no revision.
func TestWhatDiffersIsTheCommitWhateverSQLItWas(t *testing.T) {
	for name, trigger := range map[string]string{
		"no trigger":          ``,
		"a value is refused":  `BEFORE INSERT OR UPDATE ON platform_settings FOR EACH ROW EXECUTE FUNCTION house()`,
		"a value is replaced": `AFTER UPDATE ON platform_settings FOR EACH ROW WHEN (NEW.value_int = 1) EXECUTE FUNCTION house()`,
		"a key is kept":       `AFTER DELETE ON platform_settings FOR EACH ROW WHEN (OLD.key = 'a') EXECUTE FUNCTION house()`,
	} {
		t.Run(name, func(t *testing.T) {
			url := pgtest.Database(t)
			ear, dba, other := listen(t, url), pgtest.Connect(t, url), pgtest.Connect(t, url)
			pgtest.Exec(t, dba, `CREATE FUNCTION house() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
				IF TG_WHEN = 'BEFORE' THEN NEW.value_int := least(NEW.value_int, 1); RETURN NEW; END IF;
				IF TG_OP = 'DELETE' THEN INSERT INTO platform_settings SELECT OLD.*; RETURN NULL; END IF;
				UPDATE platform_settings SET value_int = 2 WHERE key = NEW.key; RETURN NULL; END $$`)
			if trigger != "" { // its name sorts before ours, so it fires first, and its own changes are recorded first
				pgtest.Exec(t, dba, `CREATE TRIGGER house `+trigger)
			}
			r := rand.New(rand.NewPCG(1, 2)) // always the same, so that a failure can be repeated
			was, before := table(t, other), revision(t, other)
			for i := range 300 {
				sql := []string{`BEGIN`}
				for range 1 + r.IntN(4) {
					sql = append(sql, `SAVEPOINT own`, statement(r))
				}
				for _, s := range sql {
					if _, err := dba.Exec(t.Context(), s); err != nil {
						pgtest.Exec(t, dba, `ROLLBACK TO own`)
					}
				}
				pgtest.Exec(t, dba, `COMMIT`)

				is, want, heard := table(t, other), []string{}, []string{}
				for _, key := range []string{"maintenance_mode", "a", "b", "c", "d"} {
					if was[key] != is[key] {
						want = append(want, fmt.Sprintf("%s: %s → %s", key, was[key].JSON, is[key].JSON))
					}
					// WITH d deletes and inserts in one statement, and there INSERT cannot see that it restores a row.
					if was[key].Content == is[key].Content && was[key] != is[key] && trigger == "" && !strings.Contains(strings.Join(sql, ""), "WITH d") {
						t.Errorf("%d: %s is unchanged except for its stamps\n%s", i, key, strings.Join(sql, ";\n"))
					}
				}
				rows, _ := other.Query(t.Context(), `SELECT concat(key, ': ', before, ' → ', after) FROM settings_history WHERE revision > $1`, before)
				got, err := pgx.CollectRows(rows, pgx.RowTo[string])
				slices.Sort(want)
				slices.Sort(got)
				announcements := ear.upTo(other)
				for _, a := range announcements {
					for _, c := range a.Changes {
						heard = append(heard, c.Key)
						if now, exists := is[c.Key]; c.Deleted == exists || exists && (string(c.Value) != now.Value || c.Digest != now.Digest) {
							t.Errorf("%d: %s is announced as %s, and is %s", i, c.Key, c.Value, now.Value)
						}
					}
				}
				if commits := min(len(want), 1); err != nil || !slices.Equal(got, want) || len(heard) != len(want) ||
					revision(t, other)-before != commits || len(announcements) != commits {
					t.Fatalf("transaction %d: %d announcements of %q, the history says %v\n%q, want\n%q\n%s", i, len(announcements), heard, err, got, want, strings.Join(sql, ";\n"))
				}
				was, before = is, revision(t, other)
			}
		})
	}
}
