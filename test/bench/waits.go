package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// looks is how often per second the pod reads the register while this many wait, by the
// database's count of statements. A silent pod in the register keeps all of them
// waiting.
func (c *crowded) looks(ctx context.Context, waits int) (perSecond float64, err error) {
	conn, err := pgx.Connect(ctx, c.url)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, `SELECT settings_join(gen_random_uuid(), 'silent', 'bench', clock_timestamp(), interval '1 hour', NULL)`); err != nil {
		return 0, err
	}
	leaving, leave := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer leave()
	for n := range waits {
		wg.Go(func() {
			_, _ = c.call(leaving, c.client, http.MethodGet, "/api/v1/admin/fleet", tokenOf(n%tokenNames), "wait=60", "")
		})
	}
	waiting := func() (float64, error) { return c.metric(c.client, `http_fleet_waits{kind="report"}`) }
	err = untilEach(ctx, 20*time.Millisecond, "all wait", func() (bool, error) {
		n, err := waiting()
		return n == float64(waits), err
	})
	if err != nil {
		return 0, err
	}
	const settled, span = 600 * time.Millisecond, 2 * time.Second
	time.Sleep(settled) // looks are more frequent at first
	count := func() (calls float64, err error) {
		err = conn.QueryRow(ctx, `SELECT coalesce(sum(calls), 0)::float8 FROM pg_stat_statements WHERE query LIKE '%JOIN public.settings_fleet%' AND query NOT LIKE '%pg_stat_statements%'`).Scan(&calls)
		return calls, err
	}
	before, err := count()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	time.Sleep(span)
	after, err := count()
	perSecond = (after - before) / time.Since(began).Seconds()
	if err != nil {
		return 0, err
	}
	if n, err := waiting(); err != nil || n != float64(waits) {
		return 0, fmt.Errorf("%v of %d still waited at the end: %w", n, waits, err)
	}
	leave()
	return perSecond, untilEach(ctx, 20*time.Millisecond, "nobody waits", func() (bool, error) {
		n, err := waiting()
		return n == 0, err
	})
}

func awaiting(ctx context.Context, r *report, o options, c *crowded) error {
	s := r.section("waits for the fleet", "GET /api/v1/admin/fleet with Prefer: wait, on one pod, while a pod in the register says nothing: how often a second the database is asked for the register, as pg_stat_statements counts it.",
		"waits", "looks a second", "× one wait's")
	one, err := c.looks(ctx, 1)
	if err != nil {
		return err
	}
	all, err := c.looks(ctx, maxWatchers)
	if err != nil {
		return err
	}
	s.row(1, round(one, 2), 1.0)
	s.row(maxWatchers, round(all, 2), round(all/one, 2))
	r.reach("looks at the register for 1,000 waits, × one wait's", 1.1, round(all/one, 2), "")
	return nil
}
