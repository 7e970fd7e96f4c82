package settings

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"platform-settings/test/pgtest"

	"platform-settings/settings"
)

// Guarantee 10: a pod is in the register before it first reads, on each of its
// connections. Otherwise a commit in between would not wait for it.
func TestAPodJoinsBeforeItReads(t *testing.T) {
	nowhere, err := PoolConfig("postgres://127.0.0.1:1/none", t.Name())
	if err != nil {
		t.Fatal(err)
	}
	for name, only := range map[string]func(*Config){
		"the poller": func(c *Config) { c.Listen = nil },
		"the listener": func(c *Config) {
			if c.Pool, err = pgxpool.NewWithConfig(t.Context(), nowhere); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Pool.Close)
		},
	} {
		t.Run(name, func(t *testing.T) {
			url := pgtest.Database(t)
			e := fleet(t, url, 1, nil)[0]
			conn := pgtest.Connect(t, url)
			role := pgtest.Role(t, url, "service")
			pgtest.Exec(t, conn, `GRANT SELECT ON settings_head TO PUBLIC`) // but not the settings
			pgtest.Exec(t, conn, `GRANT EXECUTE ON FUNCTION settings_join, settings_acknowledge, settings_check_in, settings_leave TO PUBLIC`)
			starting, _ := newEngine(t, role, func(c *Config) {
				c.Pod = "starting"
				only(c)
			})
			start(t, starting)
			until(t, "it is named", func() bool {
				return slices.Equal(await(t, e, 1, time.Millisecond).Named(settings.PodBehind), []string{"starting"})
			})
			if await(t, e, 1, time.Millisecond).Converged {
				t.Error("converged")
			}
		})
	}
}

func TestAPodThatWasLostForLongIsDroppedAloud(t *testing.T) {
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	e, logs := newEngine(t, url, func(c *Config) { c.Pod, c.TTL = "pod-1", 100*time.Millisecond })
	start(t, e)
	stranger(t, conn, "gone", "10s", nil)
	silence(t, conn, "gone", "59 minutes")
	polls := testutil.ToFloat64(e.poller.counts.ok)
	until(t, "three polls", func() bool { return testutil.ToFloat64(e.poller.counts.ok) >= polls+3 })
	if f := await(t, e, 1, patience); !slices.Equal(f.Named(settings.PodLost), []string{"gone"}) {
		t.Errorf("before an hour is over: %+v", f)
	}
	silence(t, conn, "gone", "61 minutes")
	until(t, "it is dropped", func() bool { return await(t, e, 1, patience).Converged })
	until(t, "it is logged", func() bool { return logs.FilterMessageSnippet("dropped pods").Len() == 1 })
	if n := testutil.ToFloat64(e.poller.register.forgotten); n != 1 {
		t.Errorf("counted %v times", n)
	}
}

func TestAPodThatStopsLeavesTheFleet(t *testing.T) {
	url := pgtest.Database(t)
	engines := fleet(t, url, 1, nil)
	second, _ := newEngine(t, url, func(c *Config) { c.Pod = "pod-002" })
	stop := start(t, second)
	until(t, "it has joined", func() bool { return len(await(t, engines[0], 1, patience).Pods) == 2 })
	stop()
	if f := await(t, engines[0], 1, patience); !f.Converged || len(f.Pods) != 1 {
		t.Errorf("%+v", f)
	}
}

// Stopping during a poll ends the poll's connection. The pod still leaves.
func TestAPodThatStopsDuringAPollLeavesTheFleet(t *testing.T) {
	url := pgtest.Database(t)
	first := fleet(t, url, 1, nil)[0]
	second, _ := newEngine(t, url, func(c *Config) { c.Pod, c.TTL = "pod-002", MinTTL })
	stop := start(t, second)
	until(t, "it has joined", func() bool { return len(await(t, first, 1, patience).Pods) == 2 })
	conn := pgtest.Connect(t, url)
	pgtest.Exec(t, conn, `BEGIN; LOCK TABLE platform_settings`)
	until(t, "its poll hangs", func() bool {
		var hangs bool
		err := pgtest.Connect(t, url).QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'platform_settings'::regclass)`).Scan(&hangs)
		return err == nil && hangs
	})
	stop()
	pgtest.Exec(t, conn, `ROLLBACK`)
	if f := await(t, first, 1, patience); !f.Converged || len(f.Pods) != 1 {
		t.Errorf("%+v", f)
	}
}

// If somebody empties the register, each pod joins again with its next acknowledgement.
func TestAnEmptiedRegisterFillsAgain(t *testing.T) {
	url := pgtest.Database(t)
	engines := fleet(t, url, 2, nil)
	await(t, engines[0], 1, patience)
	conn := pgtest.Connect(t, url)
	pgtest.Exec(t, conn, `TRUNCATE settings_members, settings_pods`)
	pgtest.Exec(t, conn, flip)
	until(t, "both are back and current", func() bool {
		f, err := engines[0].Fleet(t.Context(), 2)
		return err == nil && f.Converged && slices.Equal(f.Named(settings.PodCurrent), names(engines))
	})
}

// Guarantee 10: after a crash of the server, pods that come back report their revisions
// again, and a pod that does not come back is named.
func TestAfterACrashTheFleetIsKnownAgain(t *testing.T) {
	server := pgtest.Dedicated(t, dedicated)
	url := migrated(t, server.URL("postgres"))
	engines := fleet(t, url, 3, nil)
	stranger(t, pgtest.Connect(t, url), "cut-off", "10s", nil)
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := server.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	known := func(r settings.Revision) func() bool {
		return func() bool {
			f, err := engines[0].Fleet(t.Context(), r)
			missing := append(f.Named(settings.PodBehind), f.Named(settings.PodLost)...)
			return err == nil && !f.Converged && slices.Equal(f.Named(settings.PodCurrent), names(engines)) && slices.Equal(missing, []string{"cut-off"})
		}
	}
	until(t, "those who came back are current, and the other is named", known(1))
	pgtest.Exec(t, pgtest.Connect(t, url), flip)
	until(t, "the same, of the next commit", known(2))
}

// Guarantee 10: a pod that reconnects may have reached another server, with other
// commits under the same revisions. It counts as behind until it has compared them.
func TestARevisionOfAnotherServerCountsForNothing(t *testing.T) {
	url := pgtest.Database(t)
	e := fleet(t, url, 1, nil)[0]
	conn := pgtest.Connect(t, url)
	stranger(t, conn, "other", "10s", nil)
	var instance string
	if err := conn.QueryRow(t.Context(), `SELECT instance::text FROM settings_members WHERE pod = 'other'`).Scan(&instance); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		sql  string
		want bool
	}{
		{`SELECT settings_acknowledge($1, 1, 'database', 'live')`, true},
		{`SELECT settings_acknowledge($1, 2, 'database', 'live')`, false}, // there is no revision 2 here
		{`SELECT settings_acknowledge($1, 1, 'database', 'live')`, true},
		{`SELECT settings_join($1, 'other', 'test', now(), '10s', NULL)`, false},
	} {
		pgtest.Exec(t, conn, step.sql, instance)
		if got := await(t, e, 1, 20*time.Millisecond).Converged; got != step.want {
			t.Errorf("%s: converged %v, want %v", step.sql, got, step.want)
		}
	}
}

func TestAnEngineWithoutANameTakesNoPart(t *testing.T) {
	url := pgtest.Database(t)
	e, _ := liveEngine(t, url, nil)
	if _, err := e.Fleet(t.Context(), 0); !errors.Is(err, settings.ErrFleetUnknown) {
		t.Errorf("%v, want ErrFleetUnknown", err)
	}
	if n := len(e.Status().Problems); n != 0 {
		t.Errorf("%d problems", n)
	}
}
