package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// attempts is how often a limit is tried. Noise can only make a figure worse, so one
// attempt within the limit is enough. Code that got slower has no such attempt.
const attempts = 3

// guard is a number that must not grow. Counts of objects, bytes or buffers are the same
// on any machine. Times are ratios to something that is measured in turn with them.
type guard struct {
	what    string
	most    float64 // the measured figure with a margin: a tenth for counts; twice or more for times, because machines are noisy (propagation: a quarter above the goal)
	measure func(context.Context) (float64, error)
}

// check measures every guard, and fails if one is over its limit.
func check(ctx context.Context, r *report, o options) error {
	readers, stopReaders, err := openReaders(ctx)
	if err != nil {
		return err
	}
	defer stopReaders()
	passings, stopPassings, err := openPassings(ctx)
	if err != nil {
		return err
	}
	defer stopPassings()
	contenders, err := open(ctx, r, "floor", "ours", "ours without register")
	if err != nil {
		return err
	}
	defer closeAll(contenders)
	crowd, err := openCrowded(ctx)
	if err != nil {
		return err
	}
	defer crowd.close()
	floor, whole, unregistered := contenders[0], contenders[1], contenders[2]

	// No request should cost more than with what this project replaced.
	origin := readers[slices.IndexFunc(readers, func(r reader) bool { return r.library == originName })].read

	var value int64
	const pods, rounds = 100, 100
	times := func(c *contender) func(context.Context) (float64, error) {
		return func(ctx context.Context) (float64, error) {
			err := race(ctx, []*contender{floor, c}, pods, 10, rounds, &value)
			return float64(c.last.p50()) / float64(floor.last.p50()), err
		}
	}
	guards := []guard{
		{"COMMIT → the last of 100 pods, × the floor", 1.6, times(whole)},
		{"the same without the register, × the floor", 1.6, times(unregistered)},
		{"objects allocated for a commit, a pod", 24, func(ctx context.Context) (float64, error) { return objects(ctx, unregistered, &value) }},
	}
	for i, p := range passings[:4] {
		if i%2 == 1 {
			guards = append(guards, guard{"the gate's allocations, " + p.what, 0, func(context.Context) (float64, error) {
				_, without := allocations(passings[i-1].pass)
				_, with := allocations(p.pass)
				return with - without, nil
			}})
			guards = append(guards, guard{"the gate, " + p.what + ", × a mutex and a TTL check", 0.5, func(context.Context) (float64, error) {
				return (cheapest(p.pass) - cheapest(passings[i-1].pass)) / cheapest(origin), nil
			}})
		}
	}
	most := map[string]float64{isMaintenanceOn: 0.1, aTypedKey: 0.1, aKeyByName: 0.6}
	for _, reader := range readers {
		if reader.library != "ours" {
			continue
		}
		guards = append(guards,
			guard{reader.what + " allocations", 0, func(context.Context) (float64, error) {
				_, n := allocations(reader.read)
				return n, nil
			}},
			guard{reader.what + ", × a mutex and a TTL check", most[reader.what], func(context.Context) (float64, error) {
				return cheapest(reader.read) / cheapest(origin), nil
			}})
	}
	guards = append(guards,
		guard{"records of the write-ahead log for a write", 10.5, func(ctx context.Context) (float64, error) {
			return ofDatabase(ctx, unregistered, &value, `SELECT wal_records::float8 FROM pg_stat_wal`)
		}},
		guard{"buffers that a write touches", 38, func(ctx context.Context) (float64, error) {
			return ofDatabase(ctx, unregistered, &value, `SELECT (blks_hit + blks_read)::float8 FROM pg_stat_database WHERE datname = current_database()`)
		}})
	guards = append(guards, crowdGuards(crowd)...)

	s := r.section("guards", fmt.Sprintf("What must not grow. Each has up to %d attempts.", attempts), "what", "at most", "measured", "attempts", "")
	var over []error
	for _, g := range guards {
		measured, tried := 0.0, 0
		for tried < attempts && (tried == 0 || measured > g.most) {
			tried++
			if measured, err = g.measure(ctx); err != nil {
				return fmt.Errorf("%s: %w", g.what, err)
			}
		}
		said := "ok"
		if measured > g.most {
			said = "TOO MUCH"
			over = append(over, fmt.Errorf("%s: %.2f, at most %v", g.what, measured, g.most))
		}
		s.row(g.what, g.most, round(measured, 2), tried, said)
	}
	if len(over) > 0 {
		r.print()
	}
	return errors.Join(over...)
}

// cheapest is the lowest figure of several runs.
func cheapest(read func(int) int64) float64 {
	n := enough(read, 4e6)
	least := cost(read, n, 1)
	for range 8 {
		least = min(least, cost(read, n, 1))
	}
	return least
}

// objects is how many objects one pod and its connection allocate for a commit.
func objects(ctx context.Context, c *contender, value *int64) (float64, error) {
	const pods, rounds = 100, 50
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := race(ctx, []*contender{c}, pods, 0, rounds, value); err != nil {
		return 0, err
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / (pods * rounds), nil
}

// idleReport is how long a PostgreSQL backend may be idle before it adds its reads to
// the database's counters (PGSTAT_IDLE_INTERVAL, 10 s), and a little more.
const idleReport = 11 * time.Second

// ofDatabase is how much a counter of the database grows for one write.
func ofDatabase(ctx context.Context, c *contender, value *int64, counter string) (float64, error) {
	const writes = 200
	// The reads of the watchers' backends while connecting do not belong to the writes.
	select {
	case <-time.After(idleReport):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	conn, err := pgx.Connect(ctx, c.system.(*ours).fleet.url)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	read := func() (n float64, err error) {
		if _, err := c.system.(*ours).writer.Exec(ctx, `SELECT pg_stat_force_next_flush()`); err != nil {
			return 0, err
		}
		err = conn.QueryRow(ctx, counter).Scan(&n)
		return n, err
	}
	before, err := read()
	if err != nil {
		return 0, err
	}
	for range writes {
		*value++
		if err := c.write(ctx, *value); err != nil {
			return 0, err
		}
	}
	after, err := read()
	return (after - before) / writes, err
}
