package oracle

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"platform-settings/internal/pgserver"
	"platform-settings/test/pgtest"
)

// How many of each there are in a round.
const (
	pods        = 3
	httpWriters = 4
	sqlWriters  = 4
)

// The streams of random numbers, one for each use.
const (
	streamHTTP   = 100
	streamSQL    = 200
	streamPod    = 300
	streamServer = 400
	streamPace   = 500 // of readers and jitter: decides when, not what
)

func stream(seed uint64, n int) *rand.Rand { return rand.New(rand.NewPCG(seed, uint64(n))) }

// convergence is how long after the last commit and the last fault every pod must
// serve the table.
const convergence = ttl + 2*time.Second

// Round runs one round of this length: writers, readers and faults as the seed says.
// Then it heals everything, waits for the pods to catch up, and judges. It fails the
// test with every violation, and returns a line of figures.
func Round(t *testing.T, seed uint64, length time.Duration) string {
	t.Helper()
	server := pgtest.Dedicated(t, pgserver.Config{Params: map[string]string{"deadlock_timeout": "100ms"}})
	j := newJournal()
	places := make([]*place, pods)
	for i := range places {
		places[i] = newPlace(t, j, i+1, server, stream(seed, streamPace+10+i))
		places[i].start()
	}
	for _, p := range places {
		p.current.Load().AwaitReady("ok")
	}
	j.began = time.Now()

	// Writers and faults stop at the end of the round. Readers go on until the pods
	// have caught up.
	acting, endActs := context.WithTimeout(t.Context(), length)
	defer endActs()
	reading, endReads := context.WithCancel(t.Context())
	defer endReads()
	go func() { // one violation ends the round
		select {
		case <-j.failed:
			endActs()
		case <-acting.Done():
		}
	}()

	var readers, writers, lanes sync.WaitGroup
	readers.Go(func() { j.watchTable(reading, server.URL("postgres")) })
	for i, p := range places {
		readers.Go(func() { j.watch(reading, p, stream(seed, streamPace+20+i)) })
		readers.Go(func() { j.watchGate(reading, p, stream(seed, streamPace+30+i)) })
		lanes.Go(func() {
			j.lane(acting, p.name, planPod(stream(seed, streamPod+i), length), func(f fault) func() {
				return p.inject(f, func(application string, n int) { terminate(server, application, n) })
			})
		})
	}
	lanes.Go(func() {
		j.lane(acting, "server", planServer(stream(seed, streamServer), length), func(f fault) func() { return injectServer(t, server, f) })
	})
	for i := range httpWriters {
		writers.Go(func() {
			rng := stream(seed, streamHTTP+i)
			for n := 1; acting.Err() == nil && j.now() < length-curtain; n++ {
				r := planRequest(rng, fmt.Sprintf("h%d.%05d", i+1, n), pods)
				pause(acting, r.pause)
				j.send(r, places[r.pod].current.Load())
			}
		})
	}
	for i := range sqlWriters {
		writers.Go(func() {
			s := &session{journal: j, url: server.URL("postgres"), name: fmt.Sprintf("oracle s%d", i+1)}
			rng := stream(seed, streamSQL+i)
			for n := 1; acting.Err() == nil; n++ {
				tx := planTransaction(rng, fmt.Sprintf("s%d.%05d", i+1, n))
				pause(acting, tx.pause)
				for !s.run(acting, tx) && acting.Err() == nil {
					pause(acting, 20*time.Millisecond)
				}
			}
			if s.conn != nil {
				_ = s.conn.Close(context.Background())
			}
		})
	}

	<-acting.Done()
	lanes.Wait() // every fault is healed
	writers.Wait()
	j.note("all is healed, all writers are done")
	conn := pgtest.Connect(t, server.URL("postgres"))
	text, err := readTable(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	var table served
	if table.revision, table.settings, err = parseTable(text); err != nil {
		t.Fatal(err)
	}
	j.converge(reading, places, table)
	endReads()
	readers.Wait()

	for _, p := range places {
		j.listen(p.current.Load())
	}
	commits, err := readHistory(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	j.judge(commits, table)
	j.report(t, seed, length)
	return j.figures(commits)
}

// lane injects faults at their times. Each ends before the next begins.
func (j *journal) lane(ctx context.Context, who string, faults []fault, inject func(fault) (heal func())) {
	for _, f := range faults {
		pause(ctx, f.at-j.now())
		if ctx.Err() != nil {
			return
		}
		j.fault(who, f)
		heal := inject(f)
		pause(ctx, f.hold)
		heal()
		j.note("%s: %s is over", who, f.kind)
	}
}

// terminate ends the nth of an application's backends, if it can.
func terminate(server *pgserver.Server, application string, n int) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, server.URL("postgres"))
	if err != nil {
		return // no such backend
	}
	defer conn.Close(ctx)
	_, _ = conn.Exec(ctx, `
		SELECT pg_terminate_backend(pid)
		  FROM (SELECT pid, row_number() OVER (ORDER BY backend_start) - 1 AS i, count(*) OVER () AS n
		          FROM pg_stat_activity WHERE application_name = $1) backends
		 WHERE i = $2 % n`, application, n)
}

func injectServer(t *testing.T, server *pgserver.Server, f fault) (heal func()) {
	switch f.kind {
	case writer:
		terminate(server, fmt.Sprintf("oracle s%d", 1+f.amount%sqlWriters), 0)
	case restarted:
		if err := server.Restart(context.Background()); err != nil {
			t.Error(err)
		}
	case crashed:
		if err := server.Kill(); err != nil {
			t.Error(err)
		}
		return func() {
			if err := server.StartAgain(context.Background()); err != nil {
				t.Error(err)
			}
		}
	}
	return func() {}
}

// converge waits until every pod serves the table, is ready, and reports no
// problem.
func (j *journal) converge(ctx context.Context, places []*place, table served) {
	ctx, cancel := context.WithTimeout(ctx, convergence)
	defer cancel()
	healed := j.now()
	var all sync.WaitGroup
	for _, p := range places {
		all.Go(func() {
			l := p.current.Load()
			last := "it answers nothing"
			for ; ; pause(ctx, 5*time.Millisecond) {
				if ctx.Err() != nil {
					j.violation("%s does not hold the table, revision %d, %v after the last commit and the last fault: %s", l.name, table.revision, convergence, last)
					return
				}
				s, ok := j.read(ctx, l)
				if !ok {
					continue
				}
				if s.revision != table.revision || !s.settings.equal(table.settings) {
					last = fmt.Sprintf("it serves revision %d (-table +served):\n%s", s.revision, cmp.Diff(table.settings, s.settings))
					continue
				}
				ready, err := l.ask(ctx, "GET", "/readyz", "")
				if err == nil && ready.Status == 200 && strings.Contains(string(ready.Body), `"status":"ok"`) {
					j.note("%s holds the table", l.name)
					return
				}
				last = fmt.Sprintf("readiness is %s", ready.Body)
			}
		})
	}
	all.Wait()
	j.caughtUp = j.now() - healed
}
