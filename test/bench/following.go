package main

import (
	"context"
	"fmt"
	"syscall"
	"time"
)

// following measures what it would cost to pass changes on from a pod instead of from
// PostgreSQL: one process has a value, and another has the followers, by their number.
// It is a placeholder for streams, which are not built.
func following(ctx context.Context, r *report, o options) error {
	s := r.section("following", fmt.Sprintf("A floor for something that is not built: one process passes a change of %d bytes to followers over bare net/http, without authentication, ids or settings; one other process has all the followers. From its being in memory until the first, the median and the last has it; ms. Server's, follower's: processor µs a follower and change. Memory: of the server, a follower, without the kernel's buffers.", payloadSize),
		"followers", "first p50", "p99", "median p50", "p99", "last p50", "p99", "max", "server's CPU", "follower's", "server's KiB", "bytes a change", "rounds")
	sizes := []int{10, 100, 1000, 5000}
	if o.quick {
		sizes = sizes[:3]
	}
	for _, n := range sizes {
		// Go raises the soft limit to the hard one at the start, in this process and in a child.
		var limit syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil && limit.Cur < uint64(n+50) {
			r.skip("%d followers: a process may open only %d files (ulimit -Hn)", n, limit.Cur)
			continue
		}
		o.say("following: %d followers", n)
		if err := followBy(ctx, s, o, n); err != nil {
			return fmt.Errorf("%d followers: %w", n, err)
		}
	}
	return nil
}

func followBy(ctx context.Context, s *section, o options, n int) error {
	leader, err := startChild(ctx, "leader")
	if err != nil {
		return err
	}
	defer leader.stop()
	followers, err := startChild(ctx, "followers")
	if err != nil {
		return err
	}
	defer followers.stop()
	alone, err := kilobytes(leader.cmd.Process.Pid, "status", "VmRSS")
	if err != nil {
		return err
	}
	if err := followers.order(fmt.Sprint(leader.address, " ", n)); err != nil {
		return err
	}
	if answer, err := followers.hear(); err != nil {
		return fmt.Errorf("they never followed: %q, %w", answer, err)
	}

	var first, middle, last sample
	var size int
	change := func(keep bool) error {
		if err := leader.order("change"); err != nil {
			return err
		}
		answer, err := followers.hear()
		if err != nil {
			return fmt.Errorf("not all of them ever had it: %w", err)
		}
		var f, m, l time.Duration
		if _, err := fmt.Sscan(answer, (*int64)(&f), (*int64)(&m), (*int64)(&l), &size); err != nil {
			return fmt.Errorf("%q: %w", answer, err)
		}
		if keep {
			first, middle, last = append(first, f), append(middle, m), append(last, l)
		}
		return ctx.Err()
	}
	for range o.warmUp {
		if err := change(false); err != nil {
			return err
		}
	}
	serving, reading := spentBy(leader.cmd.Process.Pid), spentBy(followers.cmd.Process.Pid)
	for range o.rounds {
		if err := change(true); err != nil {
			return err
		}
	}
	share := func(p *child, before spent) any {
		d := spentBy(p.cmd.Process.Pid).since(before)
		if d == 0 {
			return ""
		}
		return round(d.Seconds()*1e6/float64(n*o.rounds), 2)
	}
	served, read := share(leader, serving), share(followers, reading)
	with, err := kilobytes(leader.cmd.Process.Pid, "status", "VmRSS")
	if err != nil {
		return err
	}
	s.row(n, milliseconds(first.p50()), milliseconds(first.p99()), milliseconds(middle.p50()), milliseconds(middle.p99()),
		milliseconds(last.p50()), milliseconds(last.p99()), milliseconds(last.max()), served, read, round((with-alone)/float64(n), 1), size, len(last))
	return nil
}
