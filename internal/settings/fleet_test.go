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
	"github.com/prometheus/client_golang/prometheus/testutil"

	"platform-settings/test/pgtest"

	"platform-settings/settings"
)

// fleet starts n engines that are members of the fleet, and waits until each is live.
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
		all = append(all, e.poller.register.name)
	}
	return all
}

// await is AwaitFleet for at most the given time.
func await(t *testing.T, e *Engine, r settings.Revision, wait time.Duration) settings.Fleet {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	f, err := e.AwaitFleet(ctx, r)
	if err != nil {
		t.Fatalf("revision %d: %v", r, err)
	}
	return f
}

// Guarantee 10: a report says converged only if every pod has the revision in force, and
// soon after they do.
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
		var revision settings.Revision
		if i%2 == 0 {
			var err error
			if revision, _, err = by.SetMaintenance(t.Context(), tester, settings.Maintenance{Enabled: i%4 == 0}); err != nil {
				t.Fatal(err)
			}
		} else {
			pgtest.Exec(t, conn, flip)
			revision = headRevision(t, conn)
		}
		f := await(t, by, revision, patience)
		for _, e := range engines {
			if got := e.Current().Revision(); got < revision {
				t.Fatalf("reported converged at %d while %s serves %d", revision, e.poller.register.name, got)
			}
		}
		if !f.Converged || f.Revision != revision || len(f.Pods) != len(engines) || len(f.Named(settings.PodBehind)) != 0 {
			t.Fatalf("%+v", f)
		}
	}
	if diff := cmp.Diff(names(engines), await(t, engines[0], 1, patience).Named(settings.PodCurrent)); diff != "" {
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
				written, err := by.Put(t.Context(), tester, settings.Put{Key: fmt.Sprint("k", w), Value: settings.IntOf(int64(i)), MayCreate: true})
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
						t.Errorf("reported converged at %d while %s serves %d", written.Revision, e.poller.register.name, got)
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
		revision, _, err := engines[i].SetMaintenance(t.Context(), tester, settings.Maintenance{Enabled: i%2 == 0})
		if err != nil {
			t.Fatal(err)
		}
		if f := await(t, engines[i], revision, patience); !f.Converged || len(f.Pods) != 100 {
			t.Fatalf("%d pods, behind: %v", len(f.Pods), f.Named(settings.PodBehind))
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	t.Logf("write and wait over 100 pods: p50 %v, max %v", took[len(took)/2], took[len(took)-1])
	for _, e := range engines { // the histogram of who waited
		if e == engines[0] && testutil.CollectAndCount(e.lookout.counts.convergence) != 1 {
			t.Error("no histogram")
		}
	}
}

// A pod reports its own revision even before it has acknowledged it.
func TestAReportGivesNoRevisionTheTimeOfAnother(t *testing.T) {
	url := pgtest.Database(t)
	e := fleet(t, url, 1, nil)[0]
	for i := range 5 {
		before := await(t, e, 0, patience).Pods[0].AppliedAt
		revision, _, err := e.SetMaintenance(t.Context(), tester, settings.Maintenance{Enabled: i%2 == 0})
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

// Guarantee 10: if the register fails, the fleet's state is unknown and not converged.
// The pods go on serving.
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
				revision, _, err := engines[0].SetMaintenance(t.Context(), tester, settings.Maintenance{Enabled: i%2 == 0})
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range engines {
					awaitSnapshot(t, e, "the write", func(s *settings.Snapshot) bool { return s.Revision() >= revision })
				}
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				f, err := engines[0].AwaitFleet(ctx, revision)
				cancel()
				if f.Converged {
					t.Errorf("converged, %v after the write (%v)", time.Since(began), err)
				}
			}
			until(t, "it is unknown", func() bool {
				f, err := engines[0].Fleet(t.Context(), 1) // which both have acknowledged
				return errors.Is(err, settings.ErrFleetUnknown) && !f.Converged
			})
			until(t, "it is said", func() bool { return strings.Contains(strings.Join(engines[1].Status().Problems, " "), "fleet: ") })
			polls := testutil.ToFloat64(engines[1].poller.counts.ok)
			until(t, "the polls go on", func() bool { return testutil.ToFloat64(engines[1].poller.counts.ok) >= polls+3 })
			if n := testutil.ToFloat64(engines[1].poller.counts.failed); n != 0 {
				t.Errorf("%v polls failed", n)
			}
			if engines[1].Stale() {
				t.Error("the pod took itself for stale")
			}

			pgtest.Exec(t, conn, fault.mends)
			if f := await(t, engines[0], 4, patience); !f.Converged {
				// The first report may come before the next check-in.
				until(t, "it is known again", func() bool { return await(t, engines[0], 4, time.Second).Converged })
			}
			until(t, "all is well", func() bool { return len(engines[1].Status().Problems) == 0 })
		})
	}
}

// silence makes a pod look as if it had been silent for so long.
func silence(t *testing.T, conn *pgx.Conn, pod, length string) {
	t.Helper()
	pgtest.Exec(t, conn, `UPDATE settings_pods SET last_seen = clock_timestamp() - $2::text::interval, revision = 0 WHERE pod = $1`, pod, length)
}

// stranger adds a pod to the register that has no engine.
func stranger(t *testing.T, conn *pgx.Conn, name, ttl string, maxStaleness *string) {
	t.Helper()
	pgtest.Exec(t, conn, `SELECT settings_join(gen_random_uuid(), $1, 'test', clock_timestamp(), $2::text::interval, $3::text::interval)`, name, ttl, maxStaleness)
}

// Guarantee 10: a lost pod is named. It does not hold up a wait that began after it was
// lost, but the fleet is not converged until the pod has closed its own gate.
func TestALostPodIsNamedAndNeverTakenForConverged(t *testing.T) {
	url := pgtest.Database(t)
	e := fleet(t, url, 1, nil)[0]
	conn := pgtest.Connect(t, url)
	stranger(t, conn, "gone", "10s", nil)

	if f := await(t, e, 1, 50*time.Millisecond); f.Converged || !slices.Equal(f.Named(settings.PodBehind), []string{"gone"}) {
		t.Errorf("heard of a moment ago: %+v", f)
	}
	silence(t, conn, "gone", "31 seconds")
	began := time.Now()
	f := await(t, e, 1, patience)
	if f.Converged || !slices.Equal(f.Named(settings.PodLost), []string{"gone"}) || len(f.Named(settings.PodBehind)) != 0 {
		t.Errorf("silent for three TTLs: %+v", f)
	}
	if took := time.Since(began); took > patience/2 {
		t.Errorf("it held the report up for %v", took)
	}

	// With MAX_STALENESS it closes its own gate, a poll and 5 s later.
	staleness := "20s"
	stranger(t, conn, "closed", "10s", &staleness)
	pgtest.Exec(t, conn, `SELECT settings_leave(instance) FROM settings_members WHERE pod = 'gone'`)
	silence(t, conn, "closed", "32 seconds") // it is lost, and the test has 3 s to see that
	if f := await(t, e, 1, 50*time.Millisecond); f.Converged {
		t.Errorf("it may still serve: %+v", f)
	}
	silence(t, conn, "closed", "36 seconds")
	if f := await(t, e, 1, patience); !f.Converged || !slices.Equal(f.Named(settings.PodLost), []string{"closed"}) ||
		f.Pods[0].ClosedAt.Sub(f.Pods[0].LastSeen) != 35*time.Second {
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
	if f.Converged || !slices.Equal(f.Named(settings.PodLost), []string{"frozen"}) {
		t.Errorf("%+v", f)
	}
}
