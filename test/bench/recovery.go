package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// recovery measures how long changes take after something was killed.
func recovery(ctx context.Context, r *report, o options) error {
	pods, kills, restarts := 100, 20, 3
	if o.quick {
		pods, kills, restarts = 20, 5, 1
	}
	server, err := startPostgres(ctx, 400, nil)
	if err != nil {
		return err
	}
	defer stopPostgres(server)
	url, err := migrated(ctx, server)
	if err != nil {
		return err
	}
	f := &fleet{url: url, names: true, ttl: 10 * time.Second}
	defer f.stop()
	if err := f.grow(ctx, pods); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	s := r.section("recovery", "From the fault (a restart: from when the server takes connections again) until a change that was committed right after it is in force; ms.",
		"fault", "pods", "p50", "max", "times", "connections made a pod, most")

	var value int64
	inForce := func(pods []*pod) error {
		return until(ctx, "the change is in force", func() (bool, error) {
			for _, p := range pods {
				if p.bench.Value() != value {
					return false, nil
				}
			}
			return true, nil
		})
	}
	var took sample
	for range kills {
		victim := f.pods[0]
		began := time.Now()
		var ended int
		err := conn.QueryRow(ctx, `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
			WHERE application_name = 'listener of pod-0000'`).Scan(&ended)
		if err != nil {
			return err
		}
		if ended != 1 {
			return fmt.Errorf("ended %d listeners, want 1", ended)
		}
		value++
		if _, err := conn.Exec(ctx, ourWrite, value); err != nil {
			return err
		}
		if err := inForce(f.pods[:1]); err != nil {
			return err
		}
		took = append(took, time.Since(began))
		if err := victim.live(ctx); err != nil {
			return err
		}
	}
	s.row("a listener's backend killed", pods, milliseconds(took.p50()), milliseconds(took.max()), len(took), "")
	r.reach("a listener whose backend was killed: a change in force again", 1000, milliseconds(took.max()), "ms, max")

	took = nil
	most := 0.0
	for range restarts {
		_ = conn.Close(ctx)
		if err := server.Restart(ctx); err != nil {
			return err
		}
		began := time.Now()
		if conn, err = pgx.Connect(ctx, url); err != nil {
			return err
		}
		var before int64
		if err := conn.QueryRow(ctx, sessions).Scan(&before); err != nil {
			return err
		}
		value++
		if _, err := conn.Exec(ctx, ourWrite, value); err != nil {
			return err
		}
		if err := inForce(f.pods); err != nil {
			return err
		}
		took = append(took, time.Since(began))
		for _, p := range f.pods {
			if err := p.live(ctx); err != nil {
				return err
			}
		}
		// A backend counts once it has reported its statistics; some that live on may report
		// later.
		var standing int64
		if err := conn.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '% of pod-%'`).Scan(&standing); err != nil {
			return err
		}
		var after int64
		if _, err := conn.Exec(ctx, `SELECT pg_sleep(1.1)`); err != nil {
			return err
		}
		if err := conn.QueryRow(ctx, sessions).Scan(&after); err != nil {
			return err
		}
		most = max(most, float64(max(after-before, standing))/float64(pods))
	}
	s.row("PostgreSQL restarted", pods, milliseconds(took.p50()), milliseconds(took.max()), len(took), round(most, 2))
	r.reach(fmt.Sprintf("PostgreSQL restarted under %d pods: all current", pods), 2000, milliseconds(took.max()), "ms, max")
	_ = conn.Close(ctx)
	return nil
}

// sessions is how many connections have been made to this database so far.
const sessions = `SELECT sessions FROM pg_stat_database WHERE datname = current_database()`
