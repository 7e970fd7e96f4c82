package httpx

import "sync"

// How many requests may wait for the fleet on one pod at a time. A wait costs the
// database nothing, but holds a connection and some memory for up to maxWait. Writes
// have a limit of their own, so that reports cannot take their places.
const (
	maxReportWaits       = 1000
	maxReportWaitsByName = 100 // with all tokens of one name
	maxWriteWaits        = 1000
)

// The kinds of waits, as the metrics name them.
const (
	reportWait = "report"
	writeWait  = "write"
)

// waits counts the waits that are under way.
type waits struct {
	metrics *metrics

	mu              sync.Mutex
	reports, writes int
	byName          map[string]int // reports by the token's name; a missing entry means 0
}

func newWaits(m *metrics) *waits { return &waits{metrics: m, byName: map[string]int{}} }

// report takes a place for a waiting report, until giveBack is called. The error is a
// problem: no place is left for this name, or for anybody.
func (w *waits) report(name string) (giveBack func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var full *problem
	switch {
	case w.byName[name] >= maxReportWaitsByName:
		full = tooManyWaits.because("%d reports are waiting on this pod with tokens of %q, which is the limit. Ask again when one of them has been answered, or leave out Prefer: wait.", maxReportWaitsByName, name)
	case w.reports >= maxReportWaits:
		full = tooManyWaits.because("%d reports are waiting on this pod, which is the limit. Ask again a little later, or leave out Prefer: wait.", maxReportWaits)
	}
	if full != nil {
		w.metrics.waitsRefused.WithLabelValues(reportWait).Inc()
		full.RetryAfter = 1
		return nil, full
	}
	w.reports++
	w.byName[name]++
	w.metrics.waits.WithLabelValues(reportWait).Inc()
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.reports--
		if w.byName[name]--; w.byName[name] == 0 {
			delete(w.byName, name)
		}
		w.metrics.waits.WithLabelValues(reportWait).Dec()
	}, nil
}

// write takes a place for a waiting write, until giveBack is called. ok is false if no
// place is left.
func (w *waits) write() (giveBack func(), ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.writes >= maxWriteWaits {
		w.metrics.waitsRefused.WithLabelValues(writeWait).Inc()
		return nil, false
	}
	w.writes++
	w.metrics.waits.WithLabelValues(writeWait).Inc()
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.writes--
		w.metrics.waits.WithLabelValues(writeWait).Dec()
	}, true
}
