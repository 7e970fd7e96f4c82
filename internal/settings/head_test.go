package settings

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"platform-settings/test/pgtest"
)

// Guarantee 7: if the version is unchanged, the poll does not look at the content.
func TestTheVersionChangesWithWhateverChangesTheTable(t *testing.T) {
	url := pgtest.Database(t)
	dba, reader := pgtest.Connect(t, url), pgtest.Connect(t, url)
	pgtest.Exec(t, dba, `ALTER TABLE platform_settings DISABLE TRIGGER ALL`) // otherwise the revision changes too
	for _, sql := range []string{
		`INSERT INTO platform_settings (key, value_int) SELECT 'row.' || i, i FROM generate_series(1, 9) i`,
		`UPDATE platform_settings SET value_int = 0 WHERE key = 'row.1'`,
		`UPDATE platform_settings SET key = 'renamed' WHERE key = 'row.1'`,
		`DELETE FROM platform_settings WHERE key = 'row.2'`,
		`DELETE FROM platform_settings WHERE key IN ('row.3', 'row.4')`, // both written by one transaction
		`BEGIN; DELETE FROM platform_settings WHERE key = 'row.5';
			INSERT INTO platform_settings (key, value_int) VALUES ('row.5', 50); COMMIT`,
		`BEGIN; SAVEPOINT s; UPDATE platform_settings SET value_int = 6 WHERE key = 'row.6'; ROLLBACK TO s;
			SAVEPOINT s; UPDATE platform_settings SET value_int = 60 WHERE key = 'row.6'; RELEASE s; COMMIT`,
		`INSERT INTO platform_settings (key, value_int) VALUES ('row.7', 0) ON CONFLICT (key) DO UPDATE SET value_int = 70`,
		`ALTER TABLE platform_settings ALTER COLUMN value_int TYPE bigint USING value_int + 1`,
		`ALTER TABLE platform_settings DROP COLUMN updated_by, ADD COLUMN updated_by text NOT NULL DEFAULT 'nobody'`,
		`TRUNCATE platform_settings`,
		`ALTER TABLE platform_settings ENABLE ALWAYS TRIGGER settings_row`,
		`DROP TRIGGER settings_commit ON settings_pending`,
	} {
		before := version(t, reader)
		pgtest.Exec(t, dba, sql)
		if version(t, reader) == before {
			t.Errorf("it did not change with: %s", sql)
		}
	}
}

// After VACUUM, a new row may take the place of a deleted one.
func TestTheVersionTellsARowFromTheOneBeforeInItsPlace(t *testing.T) {
	url := pgtest.Database(t)
	dba, reader := pgtest.Connect(t, url), pgtest.Connect(t, url)
	pgtest.Exec(t, dba, `ALTER TABLE platform_settings DISABLE TRIGGER ALL`)
	insert := func() (place string) {
		err := dba.QueryRow(t.Context(), `INSERT INTO platform_settings (key, value_int) VALUES ('row', 1) RETURNING ctid::text`).Scan(&place)
		if err != nil {
			t.Fatal(err)
		}
		return place
	}
	until(t, "a row takes another's place", func() bool { // it cannot while some transaction may still see the other
		place, before := insert(), version(t, reader)
		pgtest.Exec(t, dba, `DELETE FROM platform_settings WHERE key = 'row'`)
		pgtest.Exec(t, dba, `VACUUM platform_settings`)
		again := insert()
		if version(t, reader) == before {
			t.Errorf("it did not change, from %s to %s", place, again)
		}
		pgtest.Exec(t, dba, `DELETE FROM platform_settings WHERE key = 'row'`)
		return again == place
	})
}

// Otherwise every poll would compare the content.
func TestTheVersionStandsWhileNothingIsChanged(t *testing.T) {
	url := pgtest.Database(t)
	dba, reader := pgtest.Connect(t, url), pgtest.Connect(t, url)
	for _, sql := range []string{
		`CREATE TABLE another AS SELECT 1`, // uses up a transaction id
		`BEGIN; UPDATE platform_settings SET description = 'never'; ROLLBACK`,
		`SELECT FROM platform_settings FOR UPDATE`,
		`ANALYZE platform_settings`,
		`VACUUM (FREEZE) platform_settings`,
	} {
		before := version(t, reader)
		pgtest.Exec(t, dba, sql)
		if now := version(t, reader); now != before {
			t.Errorf("it was %s, and is %s after: %s", before, now, sql)
		}
	}
}

// Two servers may have different rows with the same transaction ids, and a pooler may
// lead to either.
func TestAVersionHoldsWithinOneSession(t *testing.T) {
	url := pgtest.Database(t)
	if one := version(t, pgtest.Connect(t, url)); version(t, pgtest.Connect(t, url)) == one {
		t.Errorf("both are %s", one)
	}
}

func version(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	v, err := readVersion(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
