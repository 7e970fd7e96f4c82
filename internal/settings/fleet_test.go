package settings

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"platform-settings/test/pgtest"
)

// fleet starts n engines that take part, and waits until each is live.
func fleet(t *testing.T, url string, n int, edit func(*Config)) []*Engine {
	t.Helper()
	engines := make([]*Engine, n)
	for i := range engines {
		engines[i], _ = newEngine(t, url, func(c *Config) {
			c.Pod, c.Build = fmt.Sprintf("pod-%03d", i+1), "test"
			if edit != nil {
				edit(c)
			}
		})
		start(t, engines[i])
	}
	for _, e := range engines {
		settle(t, e)
	}
	return engines
}

func names(engines []*Engine) (all []string) {
	for _, e := range engines {
		all = append(all, e.member.name)
	}
	return all
}

// await is AwaitFleet for as long as a test has patience, or for the wait given.
func await(t *testing.T, e *Engine, r Revision, wait time.Duration) Fleet {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	f, err := e.AwaitFleet(ctx, r)
	if err != nil {
		t.Fatalf("revision %d: %v", r, err)
	}
	return f
}

// Guarantee 10: a report says converged only when it is true of every pod, and
// soon after it is.
func TestAReportSaysConvergedWhenEveryPodHasItInForceAndNotBefore(t *testing.T) {
	url := pgtest.Database(t)
	engines := fleet(t, url, 10, nil)
	conn := pgtest.Connect(t, url)
	flips := 200
	if testing.Short() {
		flips = 20
	}
	for i := range flips {
		by := engines[i%len(engines)]
		var revision Revision
		if i%2 == 0 {
			var err error
			if revision, _, err = by.SetMaintenance(t.Context(), tester, Maintenance{Enabled: i%4 == 0}); err != nil {
				t.Fatal(err)
			}
		} else {
			pgtest.Exec(t, conn, flip)
			revision = headRevision(t, conn)
		}
		f := await(t, by, revision, patience)
		for _, e := range engines {
			if got := e.Current().Revision(); got < revision {
				t.Fatalf("reported converged at %d while %s serves %d", revision, e.member.name, got)
			}
		}
		if !f.Converged || f.Revision != revision || len(f.Pods) != len(engines) || len(f.Named(PodBehind)) != 0 {
			t.Fatalf("%+v", f)
		}
	}
	if diff := cmp.Diff(names(engines), await(t, engines[0], 1, patience).Named(PodCurrent)); diff != "" {
		t.Error(diff)
	}
}

func TestTwoWritesAtOnceEachWaitForTheirOwnRevision(t *testing.T) {
	url := pgtest.Database(t)
	engines := fleet(t, url, 5, nil)
	var writing sync.WaitGroup
	for w, by := range engines {
		writing.Go(func() {
			for i := range 20 {
				written, err := by.Put(t.Context(), tester, Put{Key: fmt.Sprint("k", w), Value: intValue(int64(i)), MayCreate: true})
				if err != nil {
					t.Error(err)
					return
				}
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				f, err := by.AwaitFleet(ctx, written.Revision)
				cancel()
				if err != nil || !f.Converged || f.Revision != written.Revision {
					t.Errorf("%+v, %v", f, err)
				}
				for _, e := range engines {
					if got := e.Current().Revision(); got < written.Revision {
						t.Errorf("reported converged at %d while %s serves %d", written.Revision, e.member.name, got)
					}
				}
			}
		})
	}
	writing.Wait()
}

func TestAHundredPodsConverge(t *testing.T) {
	url := pgtest.Database(t)
	engines := fleet(t, url, 100, nil)
	var took []time.Duration
	for i := range 20 {
		began := time.Now()
		revision, _, err := engines[i].SetMaintenance(t.Context(), tester, Maintenance{Enabled: i%2 == 0})
		if err != nil {
			t.Fatal(err)
		}
		if f := await(t, engines[i], revision, patience); !f.Converged || len(f.Pods) != 100 {
			t.Fatalf("%d pods, behind: %v", len(f.Pods), f.Named(PodBehind))
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	t.Logf("write and wait over 100 pods: p50 %v, max %v", took[len(took)/2], took[len(took)-1])
	for _, e := range engines { // the histogram of who waited
		if e == engines[0] && testutil.CollectAndCount(e.metrics.convergence) != 1 {
			t.Error("no histogram")
		}
	}
}

// acknowledgements counts, from now on, the writes to the register.
func acknowledgements(t *testing.T, conn *pgx.Conn) func() int {
	t.Helper()
	pgtest.Exec(t, conn, `CREATE TABLE acknowledgements (at timestamptz DEFAULT clock_timestamp())`)
	pgtest.Exec(t, conn, `CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
		$$ BEGIN INSERT INTO public.acknowledgements DEFAULT VALUES; RETURN NULL; END $$`)
	pgtest.Exec(t, conn, `CREATE TRIGGER note AFTER INSERT OR UPDATE ON settings_pods FOR EACH ROW EXECUTE FUNCTION note()`)
	return func() (n int) {
		if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM acknowledgements`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
}

func TestABurstOfCommitsCostsFewAcknowledgements(t *testing.T) {
	url := pgtest.Database(t)
	engines := fleet(t, url, 3, nil)
	conn := pgtest.Connect(t, url)
	await(t, engines[0], 1, patience)
	count := acknowledgements(t, conn)
	began := time.Now()
	batch := &pgx.Batch{}
	for range 500 { // each in a transaction of its own
		batch.Queue(`BEGIN`)
		batch.Queue(flip)
		batch.Queue(`COMMIT`)
	}
	if err := conn.SendBatch(t.Context(), batch).Close(); err != nil {
		t.Fatal(err)
	}
	f := await(t, engines[0], 501, patience)
	if !f.Converged {
		t.Fatalf("%+v", f)
	}
	most := 3 * (2 + int(time.Since(began)/(10*time.Millisecond)))
	n := count()
	t.Logf("500 commits cost 3 pods %d acknowledgements in %v, of %d", n, time.Since(began), most)
	if n > most {
		t.Errorf("500 commits cost 3 pods %d acknowledgements in %v, want at most %d", n, time.Since(began), most)
	}
}

// In a large fleet, commit after commit must not cost each pod an acknowledgement
// of each: but for those that somebody waits for.
func TestAcknowledgementsRestUnlessSomebodyWaits(t *testing.T) {
	e, _ := newEngine(t, "postgres://127.0.0.1:1/none", func(c *Config) { c.Pod = "pod-1" })
	e.fleetSize.Store(&fleetSize{current: 1000})
	e.publish(newSnapshot(1, SourceDatabase, nil, nil))
	p := e.poller
	prompt := func() bool { return !p.dueAt.IsZero() && time.Until(p.dueAt) <= 2*mostModesty }

	if !prompt() {
		t.Error("the first one rests")
	}
	p.rest()
	e.apply(&commit{revision: 2, changes: []change{}})
	if prompt() || p.dueAt.Before(p.rested) || time.Until(p.rested) < mostRest/4 {
		t.Errorf("the second one is due at %v, with nobody waiting, and rested at %v", p.dueAt, p.rested)
	}
	e.apply(&commit{revision: 3, changes: []change{}, awaited: true})
	if !prompt() {
		t.Error("one that is waited for rests")
	}
	p.rest()
	e.apply(&commit{revision: 5, awaited: true}) // too large to carry
	if !p.dueAt.IsZero() {
		t.Error("what is not in force is to be acknowledged")
	}
	p.rest() // one that was due, and has not that revision
	e.adopt(&reading{revision: 5, base: e.Current()})
	if !prompt() {
		t.Error("one that is waited for, and had to be read, rests")
	}
	p.rest()
	e.apply(&commit{revision: 5, changes: []change{}, awaited: true}) // the poll was first
	if !prompt() {
		t.Error("one that is waited for, and was read before it was heard, rests")
	}
}

// A pod is in the register before it reads for the first time, on whichever of
// its connections: no commit can fall between.
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
				return slices.Equal(await(t, e, 1, time.Millisecond).Named(PodBehind), []string{"starting"})
			})
			if await(t, e, 1, time.Millisecond).Converged {
				t.Error("converged")
			}
		})
	}
}

// Guarantee 10: a commit counts when requests read it, not when it was heard.
func TestAPodAcknowledgesWhatRequestsRead(t *testing.T) {
	url := pgtest.Database(t)
	e := fleet(t, url, 1, nil)[0]
	conn := pgtest.Connect(t, url)
	pgtest.Exec(t, conn, `UPDATE settings_head SET revision = 9`) // as if the commits to there were on their way
	e.listener.heard.Store(9)
	var now time.Time
	if err := conn.QueryRow(t.Context(), `SELECT clock_timestamp()`).Scan(&now); err != nil {
		t.Fatal(err)
	}
	e.poller.owe()
	var acknowledged Revision
	until(t, "it has acknowledged", func() bool {
		return conn.QueryRow(t.Context(), `SELECT revision FROM settings_pods WHERE last_seen > $1`, now).Scan(&acknowledged) == nil
	})
	if acknowledged != 1 {
		t.Errorf("it acknowledged revision %d and serves 1", acknowledged)
	}
}

// A pod knows of itself what it has not acknowledged yet.
func TestAReportGivesNoRevisionTheTimeOfAnother(t *testing.T) {
	url := pgtest.Database(t)
	e := fleet(t, url, 1, nil)[0]
	for i := range 5 {
		before := await(t, e, 0, patience).Pods[0].AppliedAt
		revision, _, err := e.SetMaintenance(t.Context(), tester, Maintenance{Enabled: i%2 == 0})
		if err != nil {
			t.Fatal(err)
		}
		f, err := e.Fleet(t.Context(), revision)
		if err != nil || !f.Converged {
			t.Fatalf("%+v, %v", f, err)
		}
		if p := f.Pods[0]; !p.AppliedAt.IsZero() && !p.AppliedAt.After(before) {
			t.Errorf("revision %d since %v, when it had another", p.Revision, p.AppliedAt)
		}
		until(t, "it has acknowledged", func() bool { return !await(t, e, revision, patience).Pods[0].AppliedAt.IsZero() })
	}
}

// A fleet that cannot be asked after is unknown, and never converged; the pods
// themselves go on as ever.
func TestARegisterThatFailsDegradesTheReportAndNotThePods(t *testing.T) {
	for name, fault := range map[string]struct{ breaks, mends string }{
		"gone": {
			`ALTER TABLE settings_pods RENAME TO elsewhere`,
			`ALTER TABLE elsewhere RENAME TO settings_pods`,
		},
		"unwritable": {
			`CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
			 CREATE TRIGGER no BEFORE INSERT OR UPDATE ON settings_pods FOR EACH ROW EXECUTE FUNCTION no()`,
			`DROP TRIGGER no ON settings_pods; DROP FUNCTION no()`,
		},
		"locked": {`BEGIN; LOCK TABLE settings_pods`, `ROLLBACK`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.Database(t)
			engines := fleet(t, url, 2, func(c *Config) { c.TTL, c.MaxStaleness = 200*time.Millisecond, 5*time.Second })
			conn := pgtest.Connect(t, url)
			pgtest.Exec(t, conn, fault.breaks)
			for i := range 3 {
				began := time.Now()
				revision, _, err := engines[0].SetMaintenance(t.Context(), tester, Maintenance{Enabled: i%2 == 0})
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range engines {
					awaitSnapshot(t, e, "the write", func(s *Snapshot) bool { return s.Revision() >= revision })
				}
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				f, err := engines[0].AwaitFleet(ctx, revision)
				cancel()
				if f.Converged {
					t.Errorf("converged, %v after the write (%v)", time.Since(began), err)
				}
			}
			until(t, "it is unknown", func() bool {
				f, err := engines[0].Fleet(t.Context(), 1) // which both have had, and said so
				return errors.Is(err, ErrFleetUnknown) && !f.Converged
			})
			until(t, "it is said", func() bool { return strings.Contains(strings.Join(engines[1].Status().Problems, " "), "fleet: ") })
			polls := testutil.ToFloat64(engines[1].metrics.polls.WithLabelValues("ok"))
			until(t, "the polls go on", func() bool { return testutil.ToFloat64(engines[1].metrics.polls.WithLabelValues("ok")) >= polls+3 })
			if n := testutil.ToFloat64(engines[1].metrics.polls.WithLabelValues("failed")); n != 0 {
				t.Errorf("%v polls failed", n)
			}
			if engines[1].Stale() {
				t.Error("the pod took itself for stale")
			}

			pgtest.Exec(t, conn, fault.mends)
			if f := await(t, engines[0], 4, patience); !f.Converged {
				// A report may come before the next check-in.
				until(t, "it is known again", func() bool { return await(t, engines[0], 4, time.Second).Converged })
			}
			until(t, "all is well", func() bool { return len(engines[1].Status().Problems) == 0 })
		})
	}
}

// silence makes a pod look as if it had not been heard of for so long.
func silence(t *testing.T, conn *pgx.Conn, pod, length string) {
	t.Helper()
	pgtest.Exec(t, conn, `UPDATE settings_pods SET last_seen = clock_timestamp() - $2::text::interval, revision = 0 WHERE pod = $1`, pod, length)
}

// stranger is a pod in the register that no engine stands behind.
func stranger(t *testing.T, conn *pgx.Conn, name, ttl string, maxStaleness *string) {
	t.Helper()
	pgtest.Exec(t, conn, `SELECT settings_join(gen_random_uuid(), $1, 'test', clock_timestamp(), $2::text::interval, $3::text::interval)`, name, ttl, maxStaleness)
}

// Lost pods are named, hold nobody up who knew it before, and keep the fleet
// from being called converged: unless they have closed their own gate.
func TestALostPodIsNamedAndNeverTakenForConverged(t *testing.T) {
	url := pgtest.Database(t)
	e := fleet(t, url, 1, nil)[0]
	conn := pgtest.Connect(t, url)
	stranger(t, conn, "gone", "10s", nil)

	if f := await(t, e, 1, 50*time.Millisecond); f.Converged || !slices.Equal(f.Named(PodBehind), []string{"gone"}) {
		t.Errorf("heard of a moment ago: %+v", f)
	}
	silence(t, conn, "gone", "31 seconds")
	began := time.Now()
	f := await(t, e, 1, patience)
	if f.Converged || !slices.Equal(f.Named(PodLost), []string{"gone"}) || len(f.Named(PodBehind)) != 0 {
		t.Errorf("silent for three TTLs: %+v", f)
	}
	if took := time.Since(began); took > patience/2 {
		t.Errorf("it held the report up for %v", took)
	}

	// With MAX_STALENESS it has closed its gate by itself, a look and 5 s later.
	staleness := "20s"
	stranger(t, conn, "closed", "10s", &staleness)
	pgtest.Exec(t, conn, `SELECT settings_leave(instance) FROM settings_members WHERE pod = 'gone'`)
	silence(t, conn, "closed", "34 seconds")
	if f := await(t, e, 1, 50*time.Millisecond); f.Converged {
		t.Errorf("it may still serve: %+v", f)
	}
	silence(t, conn, "closed", "36 seconds")
	if f := await(t, e, 1, patience); !f.Converged || !slices.Equal(f.Named(PodLost), []string{"closed"}) || f.Pods[0].ClosedAt.IsZero() {
		t.Errorf("it has closed its gate: %+v", f)
	}
}

func TestAPodThatIsLostDuringTheWaitHoldsItUp(t *testing.T) {
	url := pgtest.Database(t)
	e := fleet(t, url, 1, nil)[0]
	conn := pgtest.Connect(t, url)
	stranger(t, conn, "frozen", "50ms", nil)
	began := time.Now()
	f := await(t, e, 1, 2*time.Second)
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("it held the report up for %v only", took)
	}
	if f.Converged || !slices.Equal(f.Named(PodLost), []string{"frozen"}) {
		t.Errorf("%+v", f)
	}
}

func TestAPodThatWasLostForLongIsDroppedAloud(t *testing.T) {
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	e, logs := newEngine(t, url, func(c *Config) { c.Pod, c.TTL = "pod-1", 100*time.Millisecond })
	start(t, e)
	stranger(t, conn, "gone", "10s", nil)
	silence(t, conn, "gone", "59 minutes")
	polls := testutil.ToFloat64(e.metrics.polls.WithLabelValues("ok"))
	until(t, "three polls", func() bool { return testutil.ToFloat64(e.metrics.polls.WithLabelValues("ok")) >= polls+3 })
	if f := await(t, e, 1, patience); !slices.Equal(f.Named(PodLost), []string{"gone"}) {
		t.Errorf("before an hour is over: %+v", f)
	}
	silence(t, conn, "gone", "61 minutes")
	until(t, "it is dropped", func() bool { return await(t, e, 1, patience).Converged })
	until(t, "it is logged", func() bool { return logs.FilterMessageSnippet("dropped pods").Len() == 1 })
	if n := testutil.ToFloat64(e.metrics.forgotten); n != 1 {
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

// Also where the stop comes while a poll is under way, which ends its connection.
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

// Whoever empties the register loses nobody: each pod joins again with its next word.
func TestAnEmptiedRegisterFillsAgain(t *testing.T) {
	url := pgtest.Database(t)
	engines := fleet(t, url, 2, nil)
	await(t, engines[0], 1, patience)
	conn := pgtest.Connect(t, url)
	pgtest.Exec(t, conn, `TRUNCATE settings_members, settings_pods`)
	pgtest.Exec(t, conn, flip)
	until(t, "both are back and current", func() bool {
		f, err := engines[0].Fleet(t.Context(), 2)
		return err == nil && f.Converged && slices.Equal(f.Named(PodCurrent), names(engines))
	})
}

// What the server forgot in a crash, it knows again from those who come back,
// and who does not come back is named.
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
	known := func(r Revision) func() bool {
		return func() bool {
			f, err := engines[0].Fleet(t.Context(), r)
			missing := append(f.Named(PodBehind), f.Named(PodLost)...)
			return err == nil && !f.Converged && slices.Equal(f.Named(PodCurrent), names(engines)) && slices.Equal(missing, []string{"cut-off"})
		}
	}
	until(t, "those who came back are current, and the other is named", known(1))
	pgtest.Exec(t, pgtest.Connect(t, url), flip)
	until(t, "the same, of the next commit", known(2))
}

// A pod that reconnects may have reached another server, whose revisions are not
// the ones that it knows: it counts as behind until it has compared.
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
	if _, err := e.Fleet(t.Context(), 0); !errors.Is(err, ErrFleetUnknown) {
		t.Errorf("%v, want ErrFleetUnknown", err)
	}
	if n := len(e.Status().Problems); n != 0 {
		t.Errorf("%d problems", n)
	}
}
