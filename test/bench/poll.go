package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// look is what one poll found.
type look struct {
	at    time.Time
	value int64
}

// polling measures a poll every 10 s, which was the project's first fix, by number of
// watchers. In a closed loop a round would take ten seconds, so writes overlap: each
// poller records what it saw and when, and a write is in force on it from the first
// look that finds this write or a later one. One set of pollers serves all sizes: a
// size of n uses the first n.
func polling(ctx context.Context, r *report, o options) error {
	server, err := startPostgres(ctx, maxWatchers+50, nil)
	if err != nil {
		return err
	}
	defer stopPostgres(server)
	url := server.URL("postgres")
	if err := run(ctx, url, bareSchema("''")...); err != nil {
		return err
	}
	ttl := o.pollTTL
	n, writes := slices.Max(o.watchers), o.rounds
	o.say("polling: %d pollers for %v", n, 3*ttl)

	ctx, cancel := context.WithTimeout(ctx, 3*ttl+time.Second)
	defer cancel()
	looks := make([][]look, n)
	var pollers sync.WaitGroup
	began := time.Now()
	for i := range n {
		pollers.Go(func() { looks[i] = poll(ctx, url, ttl) })
	}
	writer, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer writer.Close(context.WithoutCancel(ctx))
	// Write from the time when all pollers have begun until a TTL before they end.
	time.Sleep(ttl)
	written := make([]time.Time, writes)
	pause := (2*ttl - time.Since(began)) / time.Duration(writes)
	for v := range written {
		written[v] = time.Now()
		if _, err := writer.Exec(ctx, bareWrite, v+1); err != nil {
			return err
		}
		time.Sleep(rand.N(2 * pause))
		if time.Since(began) > 2*ttl {
			written = written[:v+1]
			break
		}
	}
	pollers.Wait()

	s := r.section("polling", fmt.Sprintf("The same with a poll each %v and no notification; ms. Writes at random times, each found by each poller at its next look.", ttl),
		"watchers", "first p50", "p99", "median p50", "p99", "last p50", "p99", "max", "writes")
	for _, n := range o.watchers {
		var first, middle, last sample
		for v, at := range written {
			times := make(sample, n)
			for i := range n {
				times[i] = found(looks[i], int64(v+1)).Sub(at)
			}
			first, middle, last = append(first, times.quantile(0)), append(middle, times.p50()), append(last, times.max())
		}
		s.row(n, milliseconds(first.p50()), milliseconds(first.p99()), milliseconds(middle.p50()), milliseconds(middle.p99()),
			milliseconds(last.p50()), milliseconds(last.p99()), milliseconds(last.max()), len(written))
	}
	return nil
}

// poll looks once every TTL until ctx ends. The first look is at a random time within the
// first TTL.
func poll(ctx context.Context, url string, ttl time.Duration) (looks []look) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil
	}
	defer conn.Close(context.WithoutCancel(ctx))
	timer := time.NewTimer(rand.N(ttl))
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return looks
		}
		timer.Reset(ttl)
		l := look{}
		if err := conn.QueryRow(ctx, `SELECT value FROM bare WHERE key = 'bench'`).Scan(&l.value); err != nil {
			return looks
		}
		l.at = time.Now()
		looks = append(looks, l)
	}
}

// found is when a poller first saw this value or a later one. If it never did, that is
// far in the future.
func found(looks []look, value int64) time.Time {
	for _, l := range looks {
		if l.value >= value {
			return l.at
		}
	}
	return time.Now().Add(time.Hour)
}
