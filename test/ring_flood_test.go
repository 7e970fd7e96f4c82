package test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"platform-settings/test/pgtest"
	"platform-settings/test/pod"
)

// The channel's name has leaked, and is flooded. Commits are in force in time all
// the same, a pod's memory stays what it is, and so does what it asks of the
// database.
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
		if perSecond := (now.reads - before[i].reads) / took.Seconds(); perSecond > mostReads {
			t.Errorf("pod %d has read the table %.0f times a second, want at most %d", i+1, perSecond, mostReads)
		}
	}
}

// mostReads is how often in a second a pod may read the whole table, whatever it
// is sent.
const mostReads = 20

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

// The channel's name has leaked, and somebody never stops to abuse it. Another
// name locks them out: the pods follow within a TTL, connect, and serve the table.
func TestAnotherChannelLocksOutWhoFloodsTheOldOne(t *testing.T) {
	t.Parallel()
	const ttl = time.Second
	f := newFleet(t, 2, pgtest.Dedicated(t, pgserverConfig).URL("postgres"), fmt.Sprint("SETTINGS_TTL=", ttl))
	conn := f.connect()
	for name, sql := range map[string]string{
		"small garbage": `SELECT count(pg_notify($1, 'x' || i)) FROM generate_series(1, 50) i`,
		"large garbage": garbage,
		"forged commits": fmt.Sprintf(`SELECT count(pg_notify($1, json_build_object('revision', i, 'changes', json_build_array(json_build_object(
			'key', 'maintenance_mode', 'kind', 'bool', 'value', true, 'digest', i)))::text)) FROM generate_series(%d, 5000) i`, revision(t, conn)+1),
	} {
		t.Run(name, func(t *testing.T) {
			f.t = t
			p := f.pods[0]
			before := notifications(t, p)
			ended, restarts := make([]float64, len(f.pods)), make([]int, len(f.pods))
			for i, p := range f.pods {
				ended[i], restarts[i] = metric(t, p, "settings_listener_ended_total"), logged(p, "the channel has another name now")
			}
			end := flood(f, scalar[string](t, conn, `SELECT channel FROM settings_head`), sql)
			within(t, time.Now(), 2*time.Second, "the flood has reached the pods", func() bool {
				return notifications(t, p) > before+100
			})
			pgtest.Exec(t, conn, `UPDATE settings_head SET channel = DEFAULT`)
			rotated := time.Now()
			for i, p := range f.pods {
				within(t, rotated, ttl+time.Second, "the pod listens on the new channel", func() bool {
					return logged(p, "the channel has another name now") > restarts[i] &&
						metric(t, p, "settings_listener_ended_total") > ended[i] && readiness(t, p).Listener == "live"
				})
			}
			f.exactly(rotated, ttl+time.Second)
			heard := notifications(t, p)
			f.inForce(time.Now(), time.Second)
			time.Sleep(200 * time.Millisecond) // the flood goes on
			f.exactly(time.Now(), time.Second)
			if now := notifications(t, p); now > heard+1 {
				t.Errorf("%v notifications were heard on the new channel, want one", now-heard)
			}
			t.Logf("%d notifications were sent", end())
		})
	}
}
