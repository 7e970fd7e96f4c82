package httpx

import "sync"

// How many may wait for the fleet on one pod at a time. A wait costs the database
// nothing, but it holds a connection and some memory for up to maxWait. Writes have
// a budget of their own: whoever only reads must not keep them from being waited
// for.
const (
	maxReportWaits       = 1000
	maxReportWaitsByName = 100 // with the tokens of one name
	maxWriteWaits        = 1000
)

// The kinds of waits, as the metrics name them.
const (
	reportWait = "report"
	writeWait  = "write"
)

// waits counts those that are under way.
type waits struct {
	metrics *metrics

	mu              sync.Mutex
	reports, writes int
	byName          map[string]int // of reports; no entry is 0
}

func newWaits(m *metrics) *waits { return &waits{metrics: m, byName: map[string]int{}} }

// report takes a place for a report that waits, until it is given back. The error
// is a problem: there is none left for this name, or for anybody.
func (w *waits) report(name string) (giveBack func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var full *problem
	switch {
	case w.byName[name] >= maxReportWaitsByName:
		full = tooManyWaits.because("%d reports are waiting on this pod with the token of %q, and more may not. Ask again when one of them has its answer, or leave Prefer: wait out.", maxReportWaitsByName, name)
	case w.reports >= maxReportWaits:
		full = tooManyWaits.because("%d reports are waiting on this pod, and more may not. Ask again a little later, or leave Prefer: wait out.", maxReportWaits)
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

// write takes a place for a write that waits, until it is given back; false if
// there is none left.
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
