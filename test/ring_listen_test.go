package test

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"platform-settings/test/faultproxy"
	"platform-settings/test/pgtest"
)

// afterListen runs act on each connection that has sent LISTEN, when it asks for
// the snapshot and before the server hears of that.
func afterListen(proxy *faultproxy.Proxy, act func(conn int)) {
	var mu sync.Mutex
	listened := map[int]bool{}
	proxy.OnBytes(func(conn int, from faultproxy.Side, b []byte) {
		if from != faultproxy.Client {
			return
		}
		mu.Lock()
		asks := listened[conn]
		listened[conn] = !asks && bytes.Contains(b, []byte("listen "))
		mu.Unlock()
		if asks {
			act(conn)
		}
	})
}

// A commit falls between LISTEN and the snapshot, and the connection fails right
// there: the notification is lost, and the snapshot not read.
func TestAFaultBetweenListenAndTheSnapshotLosesNothing(t *testing.T) {
	t.Parallel()
	const ttl = time.Second
	for name, c := range map[string]struct {
		ttl         time.Duration
		fail        func(p *faultproxy.Proxy, conn int)
		right, live time.Duration // after the fault: what was committed is in force, the listener is live
	}{
		"cut":  {time.Hour, func(p *faultproxy.Proxy, conn int) { p.Cut(conn) }, time.Second, time.Second},
		"dark": {ttl, func(p *faultproxy.Proxy, conn int) { p.Stall(conn) }, ttl + 2*time.Second, 7 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 1, pgtest.Database(t), fmt.Sprint("SETTINGS_TTL=", c.ttl))
			p := f.pods[0]
			var once sync.Once
			failed := make(chan time.Time, 1)
			conn := f.connect()
			afterListen(f.proxy, func(n int) {
				once.Do(func() {
					if _, err := conn.Exec(t.Context(), `UPDATE platform_settings SET value_int = -1 WHERE key = 'marker'`); err != nil {
						t.Error(err)
					}
					c.fail(f.proxy, n)
					failed <- time.Now()
				})
			})
			terminate(t, f.connect(), listening)
			var since time.Time
			select {
			case since = <-failed:
			case <-time.After(10 * time.Second):
				t.Fatal("no listener asked for its snapshot")
			}
			f.exactly(since, c.right)
			within(t, since, c.live, "the listener is live", func() bool { return readiness(t, p).Listener == "live" })
			p.AwaitReady("ok")
			f.hears(time.Now(), time.Second)
		})
	}
}

// A server that takes LISTEN and never gives the snapshot is no working one:
// the listener waits longer each time, and says it once.
func TestAListenerThatNeverGetsItsSnapshotBacksOff(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, pgtest.Database(t), hourly)
	var failing atomic.Bool
	var attempts atomic.Int64
	afterListen(f.proxy, func(conn int) {
		if failing.Load() {
			attempts.Add(1)
			f.proxy.Cut(conn)
		}
	})
	failing.Store(true)
	terminate(t, f.connect(), listening)
	time.Sleep(3 * time.Second)
	failing.Store(false)
	f.inForce(time.Now(), 2*time.Second)
	f.exactly(time.Now(), time.Second)
	f.pods[0].AwaitReady("ok")
	// 20 ms, doubled each time up to a second, and half of it or half as much again.
	t.Logf("%d attempts in 3s", attempts.Load())
	if n := attempts.Load(); n < 3 || n > 12 {
		t.Errorf("%d attempts in three seconds, want 3 to 12", n)
	}
	reportedOnce(t, f.pods[0], "listener", 2) // the backend was killed, the connection breaks
}
