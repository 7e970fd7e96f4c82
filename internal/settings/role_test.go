package settings

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"platform-settings/test/pgtest"

	"platform-settings/settings"
)

// The least-privilege role in docs/operations.md can do everything that a pod does, and
// nothing more.
func TestTheServicesRoleNeedsNoMoreThanItsFewRights(t *testing.T) {
	url := pgtest.Database(t)
	admin := pgtest.Connect(t, url)
	role := pgtest.Role(t, url, "settings_service")
	name := strings.Split(strings.TrimPrefix(role, "postgres://"), "@")[0]
	pgtest.Exec(t, admin, `GRANT SELECT, INSERT, UPDATE, DELETE ON platform_settings TO `+name)
	pgtest.Exec(t, admin, `GRANT SELECT ON settings_head, settings_commits, settings_changes, settings_fleet TO `+name)
	pgtest.Exec(t, admin, `GRANT EXECUTE ON FUNCTION settings_join, settings_acknowledge, settings_check_in, settings_leave TO `+name)

	e, _ := liveEngine(t, role, func(c *Config) { c.TTL, c.Pod = MinTTL, "pod" })
	polls := testutil.ToFloat64(e.poller.counts.ok)
	until(t, "it checks in", func() bool { return testutil.ToFloat64(e.poller.counts.ok) >= polls+2 })
	if f, err := e.Fleet(t.Context(), 0); err != nil || !f.Converged {
		t.Errorf("%+v, %v", f, err)
	}
	if _, _, err := e.SetMaintenance(t.Context(), tester, settings.Maintenance{Enabled: true, Message: "m"}); err != nil {
		t.Error(err)
	}
	if _, err := e.Put(t.Context(), tester, settings.Put{Key: "k", Value: settings.IntOf(1), MayCreate: true}); err != nil {
		t.Error(err)
	}
	if _, err := e.Delete(t.Context(), tester, "k", settings.Condition{}); err != nil {
		t.Error(err)
	}
	if problems := e.Status().Problems; len(problems) != 0 {
		t.Errorf("%q", problems)
	}
	conn := pgtest.Connect(t, role)
	for _, sql := range []string{
		`UPDATE settings_head SET revision = 99`,
		`DELETE FROM settings_changes`,
		`INSERT INTO settings_commits DEFAULT VALUES`,
		`TRUNCATE platform_settings`,
		`ALTER TABLE platform_settings DISABLE TRIGGER ALL`,
		`DROP TABLE platform_settings`,
		`DELETE FROM settings_pods`,
		`UPDATE settings_pods SET revision = 99`,
	} {
		if _, err := conn.Exec(t.Context(), sql); err == nil {
			t.Errorf("%s: allowed", sql)
		}
	}
}
