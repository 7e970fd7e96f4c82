package settings

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"platform-settings/settings"
)

const (
	// leastLookPause is the shortest time between two looks, no matter how many ask.
	leastLookPause = 3 * time.Millisecond
	// mostLookPause is the longest time between two looks while somebody waits. It is
	// also the pause after a look that failed.
	mostLookPause = 100 * time.Millisecond
	// lookTimeout leaves time for the existing connection not to answer, and for an
	// answer on a new one.
	lookTimeout = 2 * answerTimeout
	// idleTTLs is after how many TTLs without a request the connection is closed.
	idleTTLs = 6
)

// lookout looks at the register for all callers on this pod that wait for a report. At
// most one look is under way, on the lookout's own connection. So a thousand waits cost
// the database as much as one, and take no connection from the writers' pool. Only run
// looks. Each wait sleeps until a look has decided it.
type lookout struct {
	keeper   *settings.Keeper
	register *register
	ttl      time.Duration
	asked    level
	counts   lookoutCounts

	mu       sync.Mutex
	running  bool
	begun    int64 // how many looks have begun
	waits    map[*wait]bool
	measured settings.Revision // the last one whose convergence was measured

	link // used by run only
}

var errNotRunning = errors.New("this pod is starting or stopping")

type lookoutCounts struct {
	ok, failed  prometheus.Counter
	convergence prometheus.Histogram
}

func newLookout(config *pgx.ConnConfig, ttl time.Duration, keeper *settings.Keeper, register *register, f promauto.Factory) *lookout {
	looks := f.NewCounterVec(prometheus.CounterOpts{
		Name: "settings_fleet_looks_total", Help: "Looks at the fleet's register, each shared by all requests that wait for a report: ok or failed.",
	}, []string{"result"})
	return &lookout{
		keeper: keeper, register: register, ttl: ttl, asked: newLevel(), waits: map[*wait]bool{}, link: link{config: config},
		counts: lookoutCounts{
			ok: looks.WithLabelValues("ok"), failed: looks.WithLabelValues("failed"),
			convergence: f.NewHistogram(prometheus.HistogramOpts{
				Name:    "settings_fleet_convergence_seconds",
				Help:    "Time from COMMIT until the whole fleet was known to have it in force, by the database's clock, for commits that somebody waited for on this pod.",
				Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
			}),
		},
	}
}

// enter begins a wait. The wait ends at once if the lookout does not run.
func (l *lookout) enter(begun wait) *wait {
	w := &begun
	w.began, w.over = time.Now(), make(chan struct{})
	l.mu.Lock()
	defer l.mu.Unlock()
	w.after = l.begun
	l.waits[w] = true
	if !l.running {
		l.abandon(w)
	}
	l.asked.raise()
	return w
}

// await waits until each pod has the revision, or ctx ends.
func (l *lookout) await(ctx context.Context, begun wait) (settings.Fleet, error) {
	w := l.enter(begun)
	select {
	case <-w.over:
	case <-ctx.Done():
		l.hurry(w)
		<-w.over
	}
	return w.last.report(w.revision)
}

// hurry ends a wait with the last look that it believes, or if there is none with the
// next one.
func (l *lookout) hurry(w *wait) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.hurried = true; w.last != nil {
		l.finish(w)
	}
}

// leave gives up a wait.
func (l *lookout) leave(w *wait) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.waits, w)
}

// abandon ends a wait without another look. The caller holds the lock.
func (l *lookout) abandon(w *wait) {
	if w.last == nil {
		w.last = &look{err: errNotRunning}
	}
	l.finish(w)
}

// finish ends a wait, once. The caller holds the lock.
func (l *lookout) finish(w *wait) {
	if l.waits[w] {
		delete(l.waits, w)
		close(w.over)
	}
}

// run looks while somebody waits, until ctx ends.
func (l *lookout) run(ctx context.Context) {
	l.mu.Lock()
	l.running = true
	l.mu.Unlock()
	defer l.end()
	rested := time.After(0)
	for {
		var again, idle <-chan time.Time
		switch age, waiting := l.youngest(); {
		case waiting:
			again = time.After(period(age))
		case l.up():
			idle = time.After(idleTTLs * l.ttl)
		}
		select {
		case <-again:
		case <-l.asked:
			if _, waiting := l.youngest(); !waiting { // the wait has ended meanwhile, or was given up
				continue
			}
		case <-idle:
			l.disconnect()
			continue
		case <-ctx.Done():
			return
		}
		select {
		case <-rested:
		case <-ctx.Done():
			return
		}

		found, err := l.look(ctx)
		if ctx.Err() != nil {
			return
		}
		l.share(found)
		rest := leastLookPause
		if err != nil {
			rest = mostLookPause
		}
		rested = time.After(rest)
	}
}

// end ends the waits that are left.
func (l *lookout) end() {
	l.mu.Lock()
	l.running = false
	for w := range l.waits {
		l.abandon(w)
	}
	l.mu.Unlock()
	l.disconnect()
}

// period is the time from one look to the next. It is short at first, because most
// fleets converge within milliseconds. age is the age of the youngest wait.
func period(age time.Duration) time.Duration { return min(max(age/4, leastLookPause), mostLookPause) }

// youngest is the age of the wait that began last, if there is one.
func (l *lookout) youngest() (age time.Duration, waiting bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for w := range l.waits {
		if lasted := time.Since(w.began); !waiting || lasted < age {
			age, waiting = lasted, true
		}
	}
	return age, waiting
}

// look looks once. If the database fails, it returns the error, and a look that
// contains it.
func (l *lookout) look(ctx context.Context) (*look, error) {
	ctx, cancel := timeout(ctx, lookTimeout)
	defer cancel()
	found, commits := l.begin()
	err := l.ask(ctx, func(ctx context.Context, conn *pgx.Conn) error { return found.read(ctx, conn, commits) })
	if err != nil {
		found.err = fmt.Errorf("read the fleet: %w", err)
		l.counts.failed.Inc()
		return found, err
	}
	found.judge(l.keeper.Current(), l.register)
	l.counts.ok.Inc()
	return found, nil
}

// begin numbers a look, and lists the commits whose times the current waits ask for.
func (l *lookout) begin() (*look, []int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked.lower() // this look answers the requests so far
	wanted := map[settings.Revision]bool{}
	for w := range l.waits {
		if w.wants() {
			wanted[w.revision] = true
		}
	}
	commits := make([]int64, 0, len(wanted))
	for r := range wanted {
		commits = append(commits, int64(r))
	}
	l.begun++
	return &look{number: l.begun}, commits
}

// share gives a look to the waits that began before it, and ends those that it decides.
func (l *lookout) share(found *look) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var decided []*wait
	for w := range l.waits {
		if found.number > w.after && w.see(found) {
			decided = append(decided, w)
		}
	}
	l.measure(decided) // first, so that a caller who has an answer also finds it in the metrics
	for _, w := range decided {
		l.finish(w)
	}
	if !found.at.IsZero() {
		l.measured = min(l.measured, found.head) // the database may have gone back
	}
}

// measure measures the convergence of each commit once, even if many waited for it.
// The caller holds the lock.
func (l *lookout) measure(decided []*wait) {
	converged := map[settings.Revision]time.Duration{}
	for _, w := range decided {
		if took, ok := w.took(); ok && w.revision > l.measured {
			converged[w.revision] = took
		}
	}
	for r, took := range converged {
		l.counts.convergence.Observe(took.Seconds())
		l.measured = max(l.measured, r)
	}
}
