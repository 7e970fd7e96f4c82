package main

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/jackc/pgx/v5"
)

// idling measures what pods cost while nobody writes: queries and database time for each
// pod and TTL, by number of settings.
func idling(ctx context.Context, r *report, o options) error {
	pods, ttl := 10, 500*time.Millisecond
	span := 4 * o.measure
	server, err := startPostgres(ctx, 100, map[string]string{
		"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track": "top", "pg_stat_statements.track_planning": "on",
	})
	if err != nil {
		return err
	}
	defer stopPostgres(server)
	url, err := migrated(ctx, server)
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, `CREATE EXTENSION pg_stat_statements`); err != nil {
		return err
	}
	s := r.section("an idle fleet", fmt.Sprintf("%d pods while nobody writes, with a short TTL of %v to get many polls: what PostgreSQL planned and executed for one pod in one TTL, and the heap that a pod holds.", pods, ttl),
		"settings", "queries a TTL", "database ms a TTL", "heap KiB a pod", "goroutines a pod")
	for _, n := range []int{10, 1000, 10000} {
		if _, err := conn.Exec(ctx, `INSERT INTO platform_settings (key, value_text)
			SELECT 'setting_' || i, 'value ' || i FROM generate_series(1, $1 - (SELECT count(*) FROM platform_settings)) i ON CONFLICT DO NOTHING`, n); err != nil {
			return err
		}
		if _, err := conn.Exec(ctx, `ANALYZE`); err != nil {
			return err
		}
		heap, routines := liveHeap(), runtime.NumGoroutine()
		f := &fleet{url: url, names: true, ttl: ttl}
		if err := f.grow(ctx, pods); err != nil {
			f.stop()
			return err
		}
		time.Sleep(8 * ttl) // a session plans a function's statements anew in its first five calls
		heap, routines = liveHeap()-heap, runtime.NumGoroutine()-routines
		if _, err := conn.Exec(ctx, `SELECT pg_stat_statements_reset()`); err != nil {
			return err
		}
		time.Sleep(span)
		var calls, spent float64
		err := conn.QueryRow(ctx, `SELECT coalesce(sum(calls), 0), coalesce(sum(total_exec_time + total_plan_time), 0)
			FROM pg_stat_statements WHERE query NOT LIKE '%pg_stat_statements%'`).Scan(&calls, &spent)
		f.stop()
		if err != nil {
			return err
		}
		turns := float64(pods) * span.Seconds() / ttl.Seconds()
		s.row(n, round(calls/turns, 2), round(spent/turns, 3), round(float64(heap)/1024/float64(pods), 0), round(float64(routines)/float64(pods), 1))
		if n == 1000 {
			// Jitter shortens the TTL by up to a fifth, by a tenth on average.
			r.reach("an idle pod with 1,000 settings, queries a TTL (less jitter)", 1, round(calls/turns*0.9, 2), "queries")
			r.reach("an idle pod with 1,000 settings, database time a TTL", 1, round(spent/turns, 3), "ms")
		}
	}
	return nil
}

// liveHeap is the reachable heap now, in bytes.
func liveHeap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
