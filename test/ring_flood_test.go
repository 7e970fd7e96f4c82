package test

import (
	"context"
	"sync"
	"testing"
	"time"

	"platform-settings/test/pgtest"
	"platform-settings/test/pod"
)

// The channel's name has leaked, and is flooded. Commits are in force in time all
// the same, and a pod's memory stays what it is.
func TestAFloodOfNotificationsDelaysNoCommit(t *testing.T) {
	t.Parallel()
	// On a server of its own: commits with a notification wait for one another in
	// all of its databases.
	f := newFleet(t, 2, pgtest.Dedicated(t, pgserverConfig).URL("postgres"), "SETTINGS_TTL=1s")
	channel := scalar[string](t, f.connect(), `SELECT channel FROM settings_head`)
	before := make([]usage, len(f.pods))
	for i, p := range f.pods {
		before[i] = used(t, p)
	}
	began, worst := time.Now(), time.Duration(0)
	end := flood(f, channel, garbage)
	for time.Since(began) < 2*time.Second {
		worst = max(worst, awaited(t, time.Now(), 2*time.Second, "a commit is in force", f.commit()))
	}
	took, total := time.Since(began), end()
	f.exactly(time.Now(), 2*time.Second)
	t.Logf("%d notifications of 7999 bytes in %v; a commit took %v at most", total, took.Round(time.Millisecond), worst.Round(time.Millisecond))
	if total < 1000 {
		t.Errorf("%d notifications are no flood", total)
	}
	for i, p := range f.pods {
		p.AwaitReady("ok")
		if n := metric(t, p, "settings_listener_ended_total"); n != 0 {
			t.Errorf("pod %d has lost %v connections over it", i+1, n)
		}
		now := used(t, p)
		t.Logf("pod %d: %.0f full reads a second, %.0f unreadable notifications, %+.0f MiB", i+1,
			(now.reads-before[i].reads)/took.Seconds(), now.unreadable-before[i].unreadable, (now.memory-before[i].memory)/(1<<20))
		if more := now.memory - before[i].memory; more > 64<<20 {
			t.Errorf("pod %d has taken %.0f MiB more", i+1, more/(1<<20))
		}
	}
}

type usage struct{ reads, unreadable, memory float64 }

func used(t *testing.T, p *pod.Pod) usage {
	t.Helper()
	return usage{
		metric(t, p, "settings_full_reads_total"),
		metric(t, p, `settings_notifications_total{result="unreadable"}`),
		metric(t, p, "process_resident_memory_bytes"),
	}
}

// garbage is as large as a notification can be, and each one another: equal ones
// would be sent once.
const garbage = `SELECT count(pg_notify($1, left(i || repeat('x', 7999), 7999))) FROM generate_series(1, 500) i`

// flood runs a statement over and over, as a role that may do nothing but
// connect, until it is ended. The statement counts what it sends, and so does
// flood.
func flood(f *fleet, channel, sql string) (end func() (sent int)) {
	guest := pgtest.Connect(f.t, pgtest.Role(f.t, f.direct, "guest"))
	ctx, stop := context.WithCancel(f.t.Context())
	total := 0
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil {
			n := 0
			if err := guest.QueryRow(ctx, sql, channel).Scan(&n); err != nil {
				if ctx.Err() == nil {
					f.t.Errorf("flood: %v", err)
				}
				return
			}
			total += n
		}
	})
	end = func() int { stop(); running.Wait(); return total }
	f.t.Cleanup(func() { end() })
	return end
}
