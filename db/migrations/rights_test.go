package migrations_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"platform-settings/test/pgtest"
)

const (
	insufficientPrivilege = "42501"
	featureNotSupported   = "0A000" // a trigger function was called directly
	notInRequiredState    = "55000" // the view is read-only
)

// Guarantee 5: a role that may change settings can neither learn the channel nor write
// history. So it can neither overhear nor forge a commit.
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
		`SELECT settings_changed_again('k', NULL, NULL)`,
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

	// A clone has the same channel, so this generates one, as a migration does.
	other := pgtest.Connect(t, pgtest.Database(t))
	pgtest.Exec(t, other, `INSERT INTO settings_head DEFAULT VALUES ON CONFLICT (only_row) DO UPDATE SET channel = excluded.channel`)
	var a, b string
	if err := errors.Join(owner.QueryRow(t.Context(), `SELECT channel FROM settings_head`).Scan(&a),
		other.QueryRow(t.Context(), `SELECT channel FROM settings_head`).Scan(&b)); err != nil || a == b {
		t.Errorf("channels %q and %q, %v", a, b, err)
	}
}
