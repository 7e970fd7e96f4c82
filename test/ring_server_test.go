package test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"platform-settings/test/faultproxy"
	"platform-settings/test/pgtest"
)

// A listener whose backend was killed: a change is in force again within a
// second, and the poll, an hour away, has no part in it.
func TestAKilledListenerHearsAgainWithinASecond(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3, pgtest.Database(t), hourly)
	conn := f.connect()
	for range 6 {
		if n := terminate(t, conn, listening); n < 3 { // one more where the last is not quite dead
			t.Fatalf("%d listeners were killed, want 3", n)
		}
		f.inForce(time.Now(), time.Second)
		for _, p := range f.pods {
			p.AwaitReady("ok")
		}
	}
	f.exactly(time.Now(), time.Second)
	for _, p := range f.pods {
		reportedOnce(t, p, "listener", 6)
		if n := metric(t, p, "settings_listener_ended_total"); n != 6 {
			t.Errorf("settings_listener_ended_total %v, want 6", n)
		}
	}
}

// Each of the pods' backends is killed over and over, while all of them write.
func TestBackendsKilledInALoopLoseNoAcknowledgedWrite(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3, pgtest.Database(t), hourly)
	l := f.load(true)
	conn := f.connect()
	for killed := 0; killed < 50; time.Sleep(50 * time.Millisecond) { // commits go on
		killed += terminate(t, conn, "platform-settings%") + terminate(t, conn, listening)
	}
	// Where a backend is killed before it has given the snapshot, the listener
	// waits longer the next time, a second and a half at most.
	f.inForce(time.Now(), 2*time.Second)
	l.endWithin(2 * time.Second)
}

// A crash of the server, while all write. Commits are durable when they are
// acknowledged, so all of them are there when it is back.
func TestAServerThatCrashedIsCaughtUpWithinTwoSeconds(t *testing.T) {
	t.Parallel()
	server := pgtest.Dedicated(t, pgserverConfig)
	f := newFleet(t, 3, server.URL("postgres"), hourly)
	l := f.load(true)
	time.Sleep(300 * time.Millisecond) // commits go on
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, p := range f.pods {
		p.AwaitReady("degraded")
	}
	if err := server.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.inForce(time.Now(), 2*time.Second)
	l.end()
	for _, p := range f.pods {
		p.AwaitReady("ok")
		reportedOnce(t, p, "listener", 4) // the server crashes, cannot be reached, starts
	}
}

// A database that is gone for many TTLs: pods say so once, go on serving, and
// ask for it a few times a second.
func TestADatabaseThatIsGoneForLongIsAskedSeldomAndReportedOnce(t *testing.T) {
	t.Parallel()
	const pods, ttl, gone = 3, 500 * time.Millisecond, 4 * time.Second
	server := pgtest.Dedicated(t, pgserverConfig)
	f := newFleet(t, pods, server.URL("postgres"), fmt.Sprint("SETTINGS_TTL=", ttl), "LOG_LEVEL=warn")
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for _, p := range f.pods {
		within(t, began, time.Second, "the pod says what is wrong", func() bool {
			r := readiness(t, p)
			return r.says("listener") && r.says("poll")
		})
	}
	time.Sleep(time.Until(began.Add(2 * time.Second))) // the backoff grows for less than that
	var lines [pods]int
	for i, p := range f.pods {
		lines[i] = logged(p)
	}
	time.Sleep(time.Until(began.Add(gone)))
	attempts := busiest(f.proxy, began.Add(2*time.Second), began.Add(gone), time.Second)
	t.Logf("%d pods dialled at most %d times in a second", pods, attempts)
	if attempts > mostAttempts*pods {
		t.Errorf("%d pods dialled %d times in a second, want at most %d each", pods, attempts, mostAttempts)
	}
	for i, p := range f.pods {
		if n := logged(p); n != lines[i] || n > 5 {
			t.Errorf("pod %d has logged %d lines, and after some seconds more %d:\n%s", i+1, lines[i], n, p.Log())
		}
		if got := p.Status("/"); got != 200 {
			t.Errorf("pod %d answers %d", i+1, got)
		}
		if n := metric(t, p, `settings_polls_total{result="failed"}`); n < 5 {
			t.Errorf("the poll failed %v times: it has given up", n)
		}
		if n := metric(t, p, "settings_age_seconds"); n < (gone - ttl).Seconds() {
			t.Errorf("settings_age_seconds %v after %v", n, gone)
		}
	}
	if err := server.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.inForce(time.Now(), 2*time.Second)
	for _, p := range f.pods {
		p.AwaitReady("ok")
	}
	f.exactly(time.Now(), time.Second)
}

// mostAttempts is how often a pod may dial in any second once its backoff has
// grown to a second. Listener and poller are half a second apart at least, the
// poller as seldom as a TTL of half a second asks for: five. For each that is
// reset pgx dials once more, to cancel.
const mostAttempts = 10

// busiest is the most connections that the proxy accepted in any span of a
// length, between two times.
func busiest(proxy *faultproxy.Proxy, from, to time.Time, length time.Duration) (most int) {
	accepted := proxy.Accepted()
	for i, at := range accepted {
		if at.Before(from) || at.After(to) {
			continue
		}
		end, _ := slices.BinarySearchFunc(accepted, at.Add(length), time.Time.Compare)
		most = max(most, end-i)
	}
	return most
}
