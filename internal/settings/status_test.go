package settings

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"platform-settings/test/pgtest"

	"platform-settings/settings"
)

// Guarantee 11: with MAX_STALENESS, a pod that is cut off reports that it is stale.
func TestAPodCutOffFromItsDatabaseBecomesStaleAndRecovers(t *testing.T) {
	server := pgtest.Dedicated(t, dedicated)
	url := migrated(t, server.URL("postgres"))
	e, logs := newEngine(t, url, func(c *Config) { c.TTL, c.MaxStaleness = 100*time.Millisecond, 400*time.Millisecond })
	if !e.Stale() {
		t.Error("never confirmed: not stale")
	}
	start(t, e)
	until(t, "it is confirmed", func() bool { return !e.Stale() })
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	until(t, "it is stale", e.Stale)
	until(t, "it is reported", func() bool { return strings.Contains(strings.Join(e.Status().Problems, " "), "MAX_STALENESS") })
	if err := server.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, "it has recovered", func() bool { return !e.Stale() && e.listener.hears() && len(e.Status().Problems) == 0 })
	if n := logs.FilterMessage("degraded").Len(); n > 8 {
		t.Errorf("%d lines for one fault: retries are logged", n)
	}
}

// Guarantee 10: a notification confirms nothing, because it may have waited in a buffer.
func TestCommitsDoNotConfirmASnapshot(t *testing.T) {
	url := pgtest.Database(t)
	e, _ := liveEngine(t, url, nil)
	until(t, "the first reads are over", func() bool { return testutil.ToFloat64(e.poller.counts.ok) == 1 })
	before := e.Confirmed()
	pgtest.Exec(t, pgtest.Connect(t, url), flip)
	awaitSnapshot(t, e, "the flip", func(s *settings.Snapshot) bool { return s.Revision() == 2 })
	if !e.Confirmed().Equal(before) {
		t.Error("a notification confirmed the snapshot")
	}
}

// Guarantee 11.
func TestTriggersThatAreOffAreReported(t *testing.T) {
	url := pgtest.Database(t)
	e, _ := liveEngine(t, url, func(c *Config) { c.TTL = MinTTL })
	conn := pgtest.Connect(t, url)
	problems := func() string { return strings.Join(e.Status().Problems, "; ") }
	for _, step := range []struct{ sql, want string }{
		{`ALTER TABLE platform_settings DISABLE TRIGGER settings_row`, "settings_row is disabled"},
		{`ALTER TABLE platform_settings ENABLE TRIGGER settings_row`, "settings_row is skipped by replicas"},
		{`ALTER TABLE platform_settings ENABLE ALWAYS TRIGGER settings_row`, ""},
		{`DROP TRIGGER settings_commit ON settings_pending`, "settings_commit is missing"},
	} {
		pgtest.Exec(t, conn, step.sql)
		until(t, fmt.Sprintf("%q is reported", step.want), func() bool {
			return step.want == "" && problems() == "" || step.want != "" && strings.Contains(problems(), step.want)
		})
	}
}

func TestBeforeRunsFirstAndItsErrorEndsRun(t *testing.T) {
	broken := fmt.Errorf("broken")
	e, _ := newEngine(t, pgtest.Database(t), func(c *Config) {
		c.Before = func(context.Context, func(error)) error { return broken }
	})
	if err := e.Run(t.Context()); err != broken {
		t.Errorf("%v, want %v", err, broken)
	}
	if e.Current().Source() != settings.SourceDefault {
		t.Error("the database was read")
	}
}
