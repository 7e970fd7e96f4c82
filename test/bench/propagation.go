package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"
)

// system carries a value from one writer to watchers, each with a connection of
// its own.
type system interface {
	// watch adds watchers up to n. Each calls seen, with its number, for each value
	// that it has in force. watch returns when all of them are watching.
	watch(ctx context.Context, n int) error
	// write commits a value, durably.
	write(ctx context.Context, value int64) error
	// process is the server; its children are part of it.
	process() int
	close()
}

// settler is a system that goes on working after its last watcher has the value. The
// benchmark waits for that work without measuring it, so that it does not slow down
// the next system.
type settler interface {
	settle(ctx context.Context) error
}

// awaitable is a system that does more work if somebody waits for a change.
type awaitable interface {
	awaited(ctx context.Context, is bool) error
}

// seen is called by a watcher for each value.
type seen func(watcher int, value int64)

// contender is a running system, and its measurements.
type contender struct {
	name string
	most int // the most watchers that it gets; 0: as many as the others
	system
	*board
	first, middle, last, returned sample
	clients, server               time.Duration // processor time for a change
}

// patience is how long the benchmark waits for anything. If it takes longer, that is an
// error, not a measurement.
const patience = 30 * time.Second

// board is where the watchers of a round sign. It has no lock, so none waits for
// another.
type board struct{ current atomic.Pointer[lap] }

type lap struct {
	value int64
	began time.Time
	at    []atomic.Int64 // by watcher: nanoseconds since began; 0: not yet
	left  atomic.Int64
	done  chan struct{}
}

func (b *board) seen(watcher int, value int64) {
	l := b.current.Load()
	if l == nil || value != l.value || watcher >= len(l.at) {
		return
	}
	if l.at[watcher].CompareAndSwap(0, int64(time.Since(l.began))) && l.left.Add(-1) == 0 {
		close(l.done)
	}
}

// round is one write, timed from before it is sent until the last of n watchers has it
// in force. It is recorded if keep is true.
func (c *contender) round(ctx context.Context, n int, value int64, keep bool) error {
	l := &lap{value: value, at: make([]atomic.Int64, n), done: make(chan struct{}), began: time.Now()}
	l.left.Store(int64(n))
	c.current.Store(l)
	if err := c.write(ctx, value); err != nil {
		return fmt.Errorf("%s: write: %w", c.name, err)
	}
	returned := time.Since(l.began)
	select {
	case <-l.done:
	case <-time.After(patience):
		return fmt.Errorf("%s: %d of %d watchers never saw the value %d", c.name, l.left.Load(), n, value)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if !keep {
		return nil
	}
	times := make(sample, n)
	for i := range l.at {
		times[i] = time.Duration(l.at[i].Load())
	}
	slices.Sort(times)
	c.first = append(c.first, times[0])
	c.middle = append(c.middle, times.p50())
	c.last = append(c.last, times[n-1])
	c.returned = append(c.returned, returned)
	return nil
}

// settle waits until a system has finished its work on a change.
func (c *contender) settle(ctx context.Context) error {
	if s, ok := c.system.(settler); ok {
		if err := s.settle(ctx); err != nil {
			return fmt.Errorf("%s: settle: %w", c.name, err)
		}
	}
	return nil
}

// loop runs rounds of one contender back to back, and settles only at the end. It
// returns the p50 of the last watcher.
func (c *contender) loop(ctx context.Context, n, rounds int, value *int64) (time.Duration, error) {
	before := *c
	defer func() {
		c.first, c.middle, c.last, c.returned = before.first, before.middle, before.last, before.returned
	}()
	c.last = nil
	if a, ok := c.system.(awaitable); ok {
		if err := a.awaited(ctx, false); err != nil {
			return 0, err
		}
		defer func() { _ = a.awaited(ctx, true) }() // if this fails, the next write fails too
	}
	for range rounds {
		*value++
		if err := c.round(ctx, n, *value, true); err != nil {
			return 0, err
		}
	}
	return c.last.p50(), c.settle(ctx)
}

// race runs rounds of all contenders in turn, so that noise affects all alike. The order
// changes each time, because each one finds in the caches what the previous one left.
func race(ctx context.Context, contenders []*contender, n, warmUp, rounds int, value *int64) error {
	for _, c := range contenders {
		c.first, c.middle, c.last, c.returned = nil, nil, nil, nil
		if err := c.watch(ctx, n); err != nil {
			return fmt.Errorf("%s: %d watchers: %w", c.name, n, err)
		}
	}
	for r := range warmUp + rounds {
		for _, i := range rand.Perm(len(contenders)) {
			*value++
			if err := contenders[i].round(ctx, n, *value, r >= warmUp); err != nil {
				return err
			}
			if err := contenders[i].settle(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// open opens the systems with these names, or all if there are none. It skips systems
// that are not installed, and reports them.
func open(ctx context.Context, r *report, names ...string) (contenders []*contender, err error) {
	defer func() {
		if err != nil {
			closeAll(contenders)
		}
	}()
	for _, known := range []struct {
		name string
		most int
		open func(context.Context, seen) (system, error)
	}{
		{"floor", 0, openFloor},
		{"floor on our schema", 100, openBareOnOurs},
		{"ours", 0, openOurs},
		{"ours without register", 100, openUnregistered},
		{"ours by Watch", 100, openWatched},
		{"re-read on each", 0, openReread},
		{"etcd", 0, openEtcd},
		{"nats kv", 0, openNATS},
		{"redis pub/sub", 0, openRedis},
	} {
		if len(names) > 0 && !slices.Contains(names, known.name) {
			continue
		}
		c := &contender{name: known.name, most: known.most, board: &board{}}
		c.system, err = known.open(ctx, c.seen)
		if missing, ok := err.(*missingError); ok {
			r.skip("%s: %s", known.name, missing.what)
			continue
		}
		if err != nil {
			return contenders, fmt.Errorf("%s: %w", known.name, err)
		}
		contenders = append(contenders, c)
	}
	return contenders, nil
}

func closeAll(contenders []*contender) {
	for _, c := range contenders {
		c.close()
	}
}

// missingError means that a program that a system needs is not installed.
type missingError struct{ what string }

func (e *missingError) Error() string { return e.what }

// propagation measures the time from a write until it is in force on watchers, by
// system and number of watchers.
func propagation(ctx context.Context, r *report, o options) error {
	contenders, err := open(ctx, r, o.systems...)
	if err != nil {
		return err
	}
	defer closeAll(contenders)
	s := r.section("propagation", "From before the write is sent until it is in force on the first, the median and the last watcher; ms. Durable: fsync on each write. × is the p50 of the last over the floor's. By itself: the last, each system alone for some rounds back to back, three times in turn. Clients', server's: processor time of a change, of all watchers together and of all the server's processes, until the system has settled; counted in rounds of one system alone.",
		"system", "watchers", "first p50", "p99", "median p50", "p99", "last p50", "p99", "max", "× floor", "by itself p50", "× floor by itself", "write p50", "clients' CPU", "server's", "rounds")
	var value int64
	for _, n := range o.watchers {
		racing := slices.DeleteFunc(slices.Clone(contenders), func(c *contender) bool { return c.most != 0 && n > c.most })
		o.say("propagation: %d watchers", n)
		if err := race(ctx, racing, n, o.warmUp, o.rounds, &value); err != nil {
			return err
		}
		const passes = 3
		back := max(o.rounds/3, 5) // back to back
		if n > 100 {
			back = max(o.rounds/20, 5) // they take long there
		}
		loops := make([][]float64, len(racing))
		for range passes {
			for i, c := range racing {
				p50, err := c.loop(ctx, n, back, &value)
				if err != nil {
					return err
				}
				loops[i] = append(loops[i], float64(p50))
			}
		}
		var floor, floorLoop time.Duration
		for i, c := range racing {
			loop := time.Duration(median(loops[i]))
			if err := c.spend(ctx, n, max(o.rounds/10, 1), &value); err != nil {
				return err
			}
			if c.name == "floor" {
				floor, floorLoop = c.last.p50(), loop
			}
			times, loopTimes := any(""), any("")
			if floor != 0 {
				times, loopTimes = round(float64(c.last.p50())/float64(floor), 2), round(float64(loop)/float64(floorLoop), 2)
			}
			server := any("")
			if c.server > 0 {
				server = milliseconds(c.server)
			}
			s.row(c.name, n, milliseconds(c.first.p50()), milliseconds(c.first.p99()), milliseconds(c.middle.p50()), milliseconds(c.middle.p99()),
				milliseconds(c.last.p50()), milliseconds(c.last.p99()), milliseconds(c.last.max()), times, milliseconds(loop), loopTimes, milliseconds(c.returned.p50()),
				milliseconds(c.clients), server, len(c.last))
			if n == 100 && c.name == "ours" && floor != 0 {
				r.reach("COMMIT → in force on the last of 100 pods", 1.25, round(float64(c.last.p50())/float64(floor), 2), "× the floor")
			}
		}
	}
	return nil
}
