package settings

import (
	"bytes"
	"context"
	"errors"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"platform-settings/test/faultproxy"
	"platform-settings/test/pgtest"

	"platform-settings/settings"
)

// proxied is a database's URL through a proxy.
func proxied(t *testing.T, address string) (*faultproxy.Proxy, string) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := faultproxy.Start(u.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	u.Host = proxy.Addr()
	return proxy, u.String()
}

// looksOnTheWire counts the looks that pods send to the server, independently of their
// own counters.
func looksOnTheWire(proxy *faultproxy.Proxy) *atomic.Int64 {
	var looks atomic.Int64
	proxy.OnBytes(func(_ int, from faultproxy.Side, b []byte) {
		if from == faultproxy.Client {
			looks.Add(int64(bytes.Count(b, []byte("JOIN public.settings_fleet"))))
		}
	})
	return &looks
}

// waiting is the number of waits on a pod.
func (l *lookout) waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waits)
}

func (e *Engine) failedLooks() int64 {
	return int64(testutil.ToFloat64(e.lookout.counts.failed))
}

func (e *Engine) looks() int64 {
	return e.failedLooks() + int64(testutil.ToFloat64(e.lookout.counts.ok))
}

// report asks until there is a report, because on a busy machine a look may time out.
func (e *Engine) report(t *testing.T, r settings.Revision) settings.Fleet {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		f, err := e.Fleet(ctx, r)
		if err == nil {
			return f
		}
		if !errors.Is(err, settings.ErrFleetUnknown) || ctx.Err() != nil {
			t.Error(err)
			return f
		}
	}
}

// samples is how many times a histogram was observed.
func samples(t *testing.T, h prometheus.Histogram) uint64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(h)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families[0].GetMetric()[0].GetHistogram().GetSampleCount()
}

func TestAThousandWaitsCostWhatOneCosts(t *testing.T) {
	address := pgtest.Database(t)
	proxy, through := proxied(t, address)
	e := fleet(t, through, 1, nil)[0]
	conn := pgtest.Connect(t, address)
	stranger(t, conn, "silent", "1 hour", nil) // holds all of them up
	until(t, "the pod has acknowledged", func() bool { return !await(t, e, 1, 0).Pods[0].AppliedAt.IsZero() })
	onTheWire := looksOnTheWire(proxy)
	acquired := e.pool.Stat().AcquireCount()

	const waits = 1000
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reports := make(chan settings.Fleet, waits)
	for range waits {
		go func() {
			f, err := e.AwaitFleet(ctx, 1)
			if err != nil && e.failedLooks() == 0 {
				t.Error(err)
			}
			reports <- f
		}()
	}
	until(t, "all of them wait", func() bool { return e.lookout.waiting() == waits })
	until(t, "the period is at its longest", func() bool { age, _ := e.lookout.youngest(); return period(age) == mostLookPause })

	// One wait costs a look in mostLookPause.
	counted := e.looks()
	began, first := time.Now(), onTheWire.Load()
	until(t, "ten looks", func() bool { return onTheWire.Load() >= first+10 })
	looks, most := onTheWire.Load()-first, 1+int64(time.Since(began)/mostLookPause)
	if looks > most {
		t.Errorf("%d waits cost %d looks in %v, want at most %d", waits, looks, time.Since(began), most)
	}
	if n := e.looks() - counted; n < 1 || n > looks+1 {
		t.Errorf("the metric counted %v of %d looks", n, looks)
	}
	if n := e.pool.Stat().AcquireCount() - acquired; n != 0 {
		t.Errorf("the waits took the writers' connections %d times", n)
	}
	if n := len(proxy.Standing()); n > 4 { // the listener's, the poller's, the lookout's, and an idle one of the writers' pool
		t.Errorf("%d connections to the database", n)
	}

	// A write needs no more connections of the pool than without waits, and does not queue.
	queued := e.pool.Stat().EmptyAcquireWaitTime()
	revision, _, err := e.SetMaintenance(t.Context(), tester, settings.Maintenance{Enabled: true})
	if err != nil || revision != 2 {
		t.Errorf("a write beside the waits: revision %d, %v", revision, err)
	}
	if stat := e.pool.Stat(); stat.AcquireCount()-acquired != 2 || stat.CanceledAcquireCount() != 0 {
		t.Errorf("one write took a connection %d times, want for the change and for its revision (waited for one: %v)",
			stat.AcquireCount()-acquired, stat.EmptyAcquireWaitTime()-queued)
	}

	cancel()
	for range waits {
		if f := <-reports; f.Converged || e.failedLooks() == 0 && !slices.Equal(f.Named(settings.PodBehind), []string{"silent"}) {
			t.Fatalf("%+v", f)
		}
	}
	if n := e.lookout.waiting(); n != 0 {
		t.Errorf("%d waits are left", n)
	}
}

// Guarantee 10: a look that was under way when the wait began may be older than what the
// caller already knows.
func TestALookThatBeganBeforeTheWaitIsNotBelieved(t *testing.T) {
	address := pgtest.Database(t)
	proxy, through := proxied(t, address)
	e := fleet(t, through, 1, nil)[0]
	conn := pgtest.Connect(t, address)
	await(t, e, 1, patience) // makes the connection

	// The answer to the next look is held back.
	held, release := make(chan struct{}), make(chan struct{})
	var connection atomic.Int64
	proxy.Before(faultproxy.Client, "JOIN public.settings_fleet", func(conn int) { connection.Store(int64(conn)) })
	var once sync.Once
	proxy.OnBytes(func(conn int, from faultproxy.Side, b []byte) {
		if from == faultproxy.Server && int64(conn) == connection.Load() && bytes.Contains(b, []byte("pod-001")) {
			once.Do(func() { close(held); <-release })
		}
	})
	early, late, named := make(chan settings.Fleet, 1), make(chan settings.Fleet, 1), make(chan settings.Fleet, 1)
	go func() { early <- e.report(t, 0) }()
	<-held
	pgtest.Exec(t, conn, flip)
	go func() { late <- e.report(t, 0) }()
	go func() { named <- e.report(t, 2) }() // a revision that the look under way does not know
	until(t, "all three wait", func() bool { return e.lookout.waiting() == 3 || e.looks() > 1 })
	close(release)

	if f := <-early; f.Revision != 1 {
		t.Logf("the look that was held took too long, and was asked again: %+v", f)
	}
	if f := <-late; f.Revision != 2 {
		t.Errorf("the report is on revision %d, after the commit of revision 2", f.Revision)
	}
	if f := <-named; f.Revision != 2 || len(f.Pods) != 1 {
		t.Errorf("%+v", f)
	}
}

func TestARevisionThatDoesNotExistIsNotWaitedFor(t *testing.T) {
	url := pgtest.Database(t)
	e := fleet(t, url, 1, nil)[0]
	for name, ask := range map[string]func(context.Context, settings.Revision) (settings.Fleet, error){
		"Fleet": e.Fleet, "AwaitFleet": e.AwaitFleet, "AwaitWrite": e.AwaitWrite,
	} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		f, err := ask(ctx, 999_999_999)
		missing, ok := errors.AsType[*settings.NoSuchRevisionError](err)
		if !ok || *missing != (settings.NoSuchRevisionError{Want: 999_999_999, Head: 1}) || f.Converged || ctx.Err() != nil {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
		cancel()
	}

	// The database decides, not this pod's snapshot.
	conn := pgtest.Connect(t, url)
	pgtest.Exec(t, conn, `UPDATE settings_head SET revision = 9`)
	if f := await(t, e, 9, 0); f.Converged || f.Revision != 9 {
		t.Errorf("the database has revision 9: %+v", f)
	}
	// The database went back: a revision above its head no longer exists.
	awaitSnapshot(t, e, "revision 1", func(s *settings.Snapshot) bool { return s.Revision() == 1 })
	pgtest.Exec(t, conn, `UPDATE settings_head SET revision = 0`)
	if f, err := e.AwaitWrite(t.Context(), 1); err == nil || f.Converged {
		t.Errorf("a commit that the database has lost: %+v, %v", f, err)
	}
}

// Many requests that do not wait share looks too.
func TestReportsWithoutAWaitShareLooks(t *testing.T) {
	address := pgtest.Database(t)
	proxy, through := proxied(t, address)
	e := fleet(t, through, 1, nil)[0]
	await(t, e, 1, patience)
	looks := looksOnTheWire(proxy)
	proxy.StallFrom(faultproxy.Server)
	var asking sync.WaitGroup
	ask := func() {
		asking.Go(func() {
			if _, err := e.Fleet(t.Context(), 1); err != nil && e.failedLooks() == 0 {
				t.Error(err)
			}
		})
	}
	ask()
	until(t, "a look is under way", func() bool { return looks.Load() == 1 })
	for range 1000 {
		ask()
	}
	until(t, "all of them ask", func() bool { return e.lookout.waiting() == 1001 || e.failedLooks() > 0 })
	if err := proxy.Heal(); err != nil {
		t.Fatal(err)
	}
	asking.Wait()
	if n := looks.Load(); n > 2+2*e.failedLooks() {
		t.Errorf("%d looks, want the one that was under way and one more", n)
	}
}

func TestTheLookoutsConnectionIsThereWhileSomebodyAsks(t *testing.T) {
	address := pgtest.Database(t)
	proxy, through := proxied(t, address)
	e := fleet(t, through, 1, func(c *Config) { c.TTL = MinTTL })[0]
	const listenerAndPoller = 2
	for range 2 {
		until(t, "it is closed", func() bool { return len(proxy.Standing()) == listenerAndPoller })
		before := len(proxy.Accepted())
		e.report(t, 1)
		if len(proxy.Accepted()) == before {
			t.Error("a report took another's connection")
		}
	}
	until(t, "it is closed", func() bool { return len(proxy.Standing()) == listenerAndPoller })
}

// A wait ends when its context ends, even if a look is still under way.
func TestAWaitEndsWithItsContextThoughALookHangs(t *testing.T) {
	address := pgtest.Database(t)
	proxy, through := proxied(t, address)
	e := fleet(t, through, 1, nil)[0]
	stranger(t, pgtest.Connect(t, address), "silent", "1 hour", nil)
	ended := func() (inTime bool) {
		e.report(t, 1) // makes the connection
		looks, failed := e.looks(), e.failedLooks()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		reports := make(chan settings.Fleet, 1)
		go func() {
			f, _ := e.AwaitFleet(ctx, 1)
			reports <- f
		}()
		until(t, "it has seen a look", func() bool { return e.looks() > looks+1 })
		proxy.Stall()
		cancel()
		f := <-reports
		inTime = e.failedLooks() == failed && slices.Equal(f.Named(settings.PodBehind), []string{"silent"})
		if err := proxy.Heal(); err != nil {
			t.Fatal(err)
		}
		return inTime
	}
	inTime := false
	for range 3 { // because the machine may be slow once
		inTime = inTime || ended()
	}
	if !inTime {
		t.Error("it waited for the look that hung")
	}

	// There is always a report, even if it is that the state is unknown.
	proxy.Stall()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if f, err := e.AwaitFleet(ctx, 1); !errors.Is(err, settings.ErrFleetUnknown) || f.Converged {
		t.Errorf("while the link is dark: %+v, %v", f, err)
	}
	if _, err := e.Fleet(ctx, 1); !errors.Is(err, settings.ErrFleetUnknown) || !errors.Is(err, context.Canceled) {
		t.Errorf("for a caller who has gone: %v", err)
	}
	if err := proxy.Heal(); err != nil {
		t.Fatal(err)
	}
	e.report(t, 1)
}

func TestNobodyIsLeftWaitingWhenTheEngineStops(t *testing.T) {
	url := pgtest.Database(t)
	e, _ := newEngine(t, url, func(c *Config) { c.Pod = "pod-1" })
	if _, err := e.AwaitFleet(t.Context(), 1); !errors.Is(err, settings.ErrFleetUnknown) {
		t.Errorf("before it runs: %v", err)
	}
	stop := start(t, e)
	settle(t, e)
	stranger(t, pgtest.Connect(t, url), "silent", "1 hour", nil)
	var waiting sync.WaitGroup
	for range 10 {
		waiting.Go(func() {
			if f, err := e.AwaitFleet(t.Context(), 1); err != nil && !errors.Is(err, settings.ErrFleetUnknown) || f.Converged {
				t.Errorf("%+v, %v", f, err)
			}
		})
	}
	until(t, "they wait", func() bool { return e.lookout.waiting() == 10 })
	stop()
	waiting.Wait()
	if _, err := e.AwaitFleet(t.Context(), 1); !errors.Is(err, settings.ErrFleetUnknown) {
		t.Errorf("after it has stopped: %v", err)
	}
	conn := pgtest.Connect(t, url)
	until(t, "its connection is closed", func() bool {
		var n int
		err := conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%JOIN public.settings_fleet%'`).Scan(&n)
		return err == nil && n == 0
	})
}

// The metric is how long a commit took, not how old it was when somebody asked.
func TestTheConvergenceOfACommitIsMeasuredOnce(t *testing.T) {
	url := pgtest.Database(t)
	engines := fleet(t, url, 2, nil)
	e := engines[0]
	conn := pgtest.Connect(t, url)
	for range 3 { // a commit that nobody waited for
		await(t, e, 1, patience)
		await(t, e, 0, patience)
	}
	if n := samples(t, e.lookout.counts.convergence); n != 0 {
		t.Errorf("%d commits were measured by a request about an old one", n)
	}

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for i := range 3 {
		revision, _, err := e.SetMaintenance(ctx, settings.Author{Actor: "test", Awaits: true}, settings.Maintenance{Enabled: i%2 == 0})
		if err != nil {
			t.Fatal(err)
		}
		var waiting sync.WaitGroup
		for range 5 {
			waiting.Go(func() {
				if f, err := e.AwaitWrite(ctx, revision); err != nil || !f.Converged {
					t.Errorf("%+v, %v", f, err)
				}
			})
		}
		waiting.Wait()
		if f, err := e.AwaitWrite(ctx, revision); err != nil || !f.Converged { // a write that changed nothing
			t.Errorf("%+v, %v", f, err)
		}
		if n := samples(t, e.lookout.counts.convergence); n != uint64(i+1) {
			t.Errorf("%d writes that were waited for, %d measured", i+1, n)
		}
	}

	// A commit that a look saw on its way is measured too, even if another look failed.
	stranger(t, conn, "slow", "1 hour", nil)
	pgtest.Exec(t, conn, flip)
	pgtest.Exec(t, conn, `ALTER VIEW settings_fleet RENAME TO elsewhere`)
	failed := e.failedLooks()
	reported := make(chan settings.Fleet, 1)
	go func() { reported <- await(t, e, 5, patience) }()
	until(t, "a look fails", func() bool { return e.failedLooks() > failed })
	pgtest.Exec(t, conn, `ALTER VIEW elsewhere RENAME TO settings_fleet`)
	until(t, "it is held up", func() bool {
		e.lookout.mu.Lock()
		defer e.lookout.mu.Unlock()
		for w := range e.lookout.waits {
			return w.heldUp
		}
		return false
	})
	pgtest.Exec(t, conn, `SELECT settings_acknowledge(instance, 5, 'database', 'live') FROM settings_members WHERE pod = 'slow'`)
	<-reported
	if n := samples(t, e.lookout.counts.convergence); n != 4 {
		t.Errorf("%d measured, want 4", n)
	}
}

func TestLooksComeLessOftenTheLongerSomebodyWaits(t *testing.T) {
	for age, want := range map[time.Duration]time.Duration{
		0: leastLookPause, 4 * leastLookPause: leastLookPause, 40 * time.Millisecond: 10 * time.Millisecond,
		400 * time.Millisecond: mostLookPause, time.Hour: mostLookPause,
	} {
		if got := period(age); got != want {
			t.Errorf("after %v: %v, want %v", age, got, want)
		}
	}
}
