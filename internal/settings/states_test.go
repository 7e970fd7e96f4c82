package settings

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap/zaptest/observer"

	"platform-settings/test/pgtest"

	"platform-settings/settings"
)

// Guarantee 11: each state has its own words, is logged once, and ends by itself.
// Guarantee 12: meanwhile the pod keeps what it has in force, here a closed gate.
func TestEachWayToLoseTheDatabaseIsAClearState(t *testing.T) {
	address := pgtest.Database(t)
	admin := pgtest.Connect(t, address)
	pgtest.Exec(t, admin, `GRANT SELECT ON ALL TABLES IN SCHEMA public TO PUBLIC`)
	role := pgtest.Role(t, address, "service")
	name := strings.Split(strings.TrimPrefix(role, "postgres://"), "@")[0]
	e, logs := liveEngine(t, role, func(c *Config) { c.TTL = MinTTL })
	pgtest.Exec(t, admin, flip)
	awaitSnapshot(t, e, "maintenance is on", func(s *settings.Snapshot) bool { return s.Maintenance().Enabled })
	kick := func() {
		pgtest.Exec(t, admin, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1`, name)
	}
	for _, state := range []struct{ breaks, words, mends string }{
		{`REVOKE SELECT ON platform_settings FROM PUBLIC`, "lacks a right", `GRANT SELECT ON platform_settings TO PUBLIC`},
		{`ALTER ROLE ` + name + ` NOLOGIN`, "is refused", `ALTER ROLE ` + name + ` LOGIN`},
		{`ALTER ROLE ` + name + ` CONNECTION LIMIT 0`, "no more connections", `ALTER ROLE ` + name + ` CONNECTION LIMIT -1`},
		{`ALTER TABLE settings_head RENAME TO elsewhere`, "schema does not fit", `ALTER TABLE elsewhere RENAME TO settings_head`},
	} {
		said := logs.FilterMessage("degraded").Len()
		pgtest.Exec(t, admin, state.breaks)
		kick()
		says(t, e, logs, state.words, said)
		if !e.Maintenance().ActiveNow() {
			t.Errorf("%s: the gate is open", state.words)
		}
		pgtest.Exec(t, admin, state.mends)
		recovers(t, e, state.words)
	}
}

// says waits until the engine reports a state, and then for five more attempts, which
// must not fill the log. A topic may first report that the connection broke.
func says(t *testing.T, e *Engine, logs *observer.ObservedLogs, words string, before int) {
	t.Helper()
	until(t, "it says: "+words, func() bool { return strings.Contains(strings.Join(e.Status().Problems, " "), words) })
	polls := testutil.ToFloat64(e.poller.counts.failed)
	until(t, "it went on trying", func() bool { return testutil.ToFloat64(e.poller.counts.failed) >= polls+5 })
	if n := logs.FilterMessage("degraded").Len() - before; n > 6 {
		t.Errorf("%s: logged %d times", words, n)
	}
}

func recovers(t *testing.T, e *Engine, from string) {
	t.Helper()
	until(t, "it has recovered from: "+from, func() bool {
		return e.listener.hears() && e.Current().Source() == settings.SourceDatabase && len(e.Status().Problems) == 0
	})
}

// Guarantee 11.
func TestADroppedDatabaseIsAClearState(t *testing.T) {
	address := pgtest.Database(t)
	e, logs := liveEngine(t, address, func(c *Config) { c.TTL = MinTTL })
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	name := pgx.Identifier{strings.TrimPrefix(parsed.Path, "/")}.Sanitize()
	admin := pgtest.Connect(t, pgtest.Server(t).URL("postgres"))
	pgtest.Exec(t, pgtest.Connect(t, address), flip)
	pgtest.Exec(t, admin, `DROP DATABASE `+name+` WITH (FORCE)`)
	says(t, e, logs, "the database does not exist", 0)
	pgtest.Exec(t, admin, `CREATE DATABASE `+name)
	until(t, "it finds no schema", func() bool { return strings.Contains(strings.Join(e.Status().Problems, " "), "schema does not fit") })
	migrated(t, address)
	recovers(t, e, "a dropped database")
	if s := e.Current(); s.Revision() != 1 || s.Maintenance().Enabled {
		t.Errorf("revision %d is not the new database's", s.Revision())
	}
}

// Guarantee 11.
func TestAnExpiredPasswordIsAClearState(t *testing.T) {
	address := pgtest.Database(t)
	sockets := pgtest.Server(t).SocketDir() // TCP asks for no password
	if sockets == "" {
		pgtest.Missing(t, "the temporary directory's name is too long for a socket")
	}
	admin := pgtest.Connect(t, address)
	pgtest.Exec(t, admin, `GRANT SELECT ON ALL TABLES IN SCHEMA public TO PUBLIC`)
	role, err := url.Parse(pgtest.Role(t, address, "service"))
	if err != nil {
		t.Fatal(err)
	}
	name := role.User.Username()
	pgtest.Exec(t, admin, `ALTER ROLE `+name+` PASSWORD 'sesame'`)
	role.User = url.UserPassword(name, "sesame")
	role.RawQuery = url.Values{"host": {sockets}, "port": {role.Port()}, "sslmode": {"disable"}}.Encode()
	role.Host = ""
	e, logs := liveEngine(t, role.String(), func(c *Config) { c.TTL = MinTTL })

	pgtest.Exec(t, admin, `ALTER ROLE `+name+` VALID UNTIL '2020-01-01'`)
	pgtest.Exec(t, admin, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1`, name)
	says(t, e, logs, "the role or its password is refused", 0)
	for _, entry := range logs.All() {
		if text := fmt.Sprint(entry.Message, entry.ContextMap()); strings.Contains(text, "sesame") {
			t.Errorf("the password is in the log: %s", text)
		}
	}
	pgtest.Exec(t, admin, `ALTER ROLE `+name+` VALID UNTIL 'infinity'`)
	recovers(t, e, "an expired password")
}

// Guarantee 11, and Guarantee 12: a standby may lag, so its rows are not believed.
func TestAStandbyIsAClearStateAndItsPromotionAnAnswer(t *testing.T) {
	primary := pgtest.Dedicated(t, dedicated)
	migrated(t, primary.URL("postgres"))
	standby, err := primary.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := standby.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	e, logs := newEngine(t, standby.URL("postgres"), func(c *Config) { c.TTL = MinTTL })
	start(t, e)
	says(t, e, logs, "the server is a standby", 0)
	if e.Current().Source() != settings.SourceDefault {
		t.Error("a standby's rows were taken for the truth")
	}
	pgtest.Exec(t, pgtest.Connect(t, standby.URL("postgres")), `SELECT pg_promote()`)
	recovers(t, e, "a standby")
}
