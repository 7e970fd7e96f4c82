package test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"platform-settings/db/migrations"
	"platform-settings/internal/pgserver"
	source "platform-settings/internal/settings"
	"platform-settings/settings"
	"platform-settings/test/pgtest"
)

// The server restarts under a hundred listeners (fewer with the race detector), at once and after some seconds:
// all are current within two seconds after it accepts connections, and it is not
// stormed by them, neither while it is away nor when it returns.
func TestARestartUnderAHundredListenersIsOverInTwoSeconds(t *testing.T) {
	const promise = 2 * time.Second
	server := pgtest.Dedicated(t, pgserver.Config{Params: map[string]string{"max_connections": "500"}})
	if err := migrations.Up(t.Context(), server.URL("postgres"), zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	proxy, linked := link(t, server.URL("postgres"))
	engines := make([]*source.Engine, manyListeners)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() { stop(); running.Wait() })
	for i := range engines {
		engines[i] = engine(t, linked)
		running.Go(func() {
			if err := engines[i].Run(ctx); err != nil {
				t.Error(err)
			}
		})
		awaited(t, time.Now(), 20*time.Second, "it listens", func() bool { return engines[i].Status().Listener == "live" })
	}
	allLive := func() bool {
		for _, e := range engines {
			if e.Status().Listener != "live" {
				return false
			}
		}
		return true
	}

	for name, restart := range map[string]func() error{
		"a fast restart": func() error { return server.Restart(t.Context()) },
		"two seconds without a server": func() error {
			if err := server.Kill(); err != nil {
				return err
			}
			time.Sleep(2 * time.Second) // the backoff has grown to a second by then
			return server.StartAgain(t.Context())
		},
	} {
		away := time.Now()
		if err := restart(); err != nil {
			t.Fatal(err)
		}
		back := time.Now()
		conn := pgtest.Connect(t, server.URL("postgres"))
		started := scalar[time.Time](t, conn, `SELECT pg_postmaster_start_time()`)
		pgtest.Exec(t, conn, `UPDATE platform_settings SET value_bool = NOT value_bool WHERE key = 'maintenance_mode'`)
		want := settings.Revision(revision(t, conn))
		t.Logf("%s: it accepts connections after %v, %v after it was started", name, back.Sub(away).Round(time.Millisecond), back.Sub(started).Round(time.Millisecond))
		allCurrent := func() bool {
			for _, e := range engines {
				if e.Current().Revision() < want {
					return false
				}
			}
			return true
		}
		for !allCurrent() || !allLive() {
			if time.Since(back) > 30*time.Second {
				t.Fatalf("%s: not all are current and listen after %v", name, time.Since(back))
			}
			time.Sleep(2 * time.Millisecond)
		}
		took := time.Since(back)
		t.Logf("%v of %v: all have what is committed in force, and listen", took.Round(time.Millisecond), promise)
		if took > promise { // on an idle machine; a busy one takes longer for anything
			bare := bareConnections(t, server.URL("postgres"), manyListeners)
			if took > time.Duration(float64(promise)*max(1, bare.Seconds()/idle.Seconds())) {
				t.Errorf("took %v, promised within %v; %d bare connections alone take %v", took, promise, manyListeners, bare)
			}
		}
		second := busiest(proxy, away, time.Now(), time.Second)
		tenth := busiest(proxy, back.Add(-50*time.Millisecond), time.Now(), 100*time.Millisecond)
		t.Logf("at most %d connections were tried in a second, and %d in a tenth of one when it was back", second, tenth)
		if second > mostAtFirst*manyListeners {
			t.Errorf("%d connections were tried in a second, want at most %d for each listener", second, mostAtFirst)
		}
		if tenth > 3*manyListeners {
			t.Errorf("%d connections were tried in a tenth of a second when the server was back, want at most three for each listener", tenth)
		}
	}
}

// mostAtFirst is how often a listener may dial in the second in which it loses
// the server. It waits 20 ms, 40 ms, … 640 ms, each time half of it at least:
// seven attempts. For each that is reset pgx dials once more, to cancel.
const mostAtFirst = 14

// idle is how long a hundred bare connections take on an idle machine with two
// processors.
const idle = 350 * time.Millisecond

// bareConnections is how long so many take at once, of those that only connect
// and listen.
func bareConnections(t *testing.T, url string, n int) time.Duration {
	t.Helper()
	began := time.Now()
	var connecting sync.WaitGroup
	for range n {
		connecting.Go(func() {
			conn, err := pgx.Connect(t.Context(), url)
			if err == nil {
				_, err = conn.Exec(t.Context(), `LISTEN bare`)
				_ = conn.Close(t.Context())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	connecting.Wait()
	return time.Since(began)
}

// engine is a pod's, without the pod around it.
func engine(t *testing.T, url string) *source.Engine {
	t.Helper()
	config, err := source.PoolConfig(url, "platform-settings")
	if err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	listen, err := source.ListenConfig(url, listening)
	if err != nil {
		t.Fatal(err)
	}
	e, err := source.New(source.Config{Pool: pool, Listen: listen})
	if err != nil {
		t.Fatal(err)
	}
	return e
}
