package settings

import (
	"strings"
	"testing"
	"time"

	"platform-settings/test/pgtest"

	"platform-settings/settings"
)

// Guarantee 11: a pooler in transaction mode accepts LISTEN and delivers nothing. The
// pod recognises it when it connects, reports it, and goes on polling.
func TestAPoolerInTransactionModeIsRecognised(t *testing.T) {
	url := pgtest.Database(t)
	through := pgtest.PgBouncer(t, url, "transaction")
	e, logs := newEngine(t, through, func(c *Config) { c.TTL = 100 * time.Millisecond })
	start(t, e)
	until(t, "the status names the pooler and the way out, and it polls", func() bool {
		s := e.Status()
		problems := strings.Join(s.Problems, " ")
		return s.Listener == "polling" && s.Source == settings.SourceDatabase &&
			strings.Contains(problems, "pooler in transaction mode") && strings.Contains(problems, "LISTEN_DATABASE_URL")
	})
	if logs.FilterMessage("degraded").Len() != 1 {
		t.Errorf("logged %v", logs.FilterMessage("degraded").All())
	}
	conn := pgtest.Connect(t, url)
	for i := range 5 {
		pgtest.Exec(t, conn, flip)
		awaitSnapshot(t, e, "the flip, by poll", func(s *settings.Snapshot) bool { return s.Revision() == settings.Revision(i+2) })
	}
	for range 5 {
		if _, _, err := e.SetMaintenance(t.Context(), tester, settings.Maintenance{Enabled: true}); err != nil {
			t.Error(err)
		}
	}
}

func TestADirectLineBesideAPoolerListens(t *testing.T) {
	url := pgtest.Database(t)
	direct, err := ListenConfig(url, t.Name())
	if err != nil {
		t.Fatal(err)
	}
	e, _ := liveEngine(t, pgtest.PgBouncer(t, url, "transaction"), func(c *Config) { c.Listen = direct })
	pgtest.Exec(t, pgtest.Connect(t, url), flip)
	awaitSnapshot(t, e, "the flip", func(s *settings.Snapshot) bool { return s.Maintenance().Enabled })
}

func TestAPoolerInSessionModeListens(t *testing.T) {
	url := pgtest.Database(t)
	e, _ := liveEngine(t, pgtest.PgBouncer(t, url, "session"), nil)
	pgtest.Exec(t, pgtest.Connect(t, url), flip)
	awaitSnapshot(t, e, "the flip", func(s *settings.Snapshot) bool { return s.Maintenance().Enabled })
}
