package settings

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are a keeper's counters. Gauges are computed when they are scraped.
type metrics struct {
	commits prometheus.Counter
	repairs *prometheus.CounterVec
	delay   prometheus.Histogram
}

func newMetrics(k *Keeper, r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	gauge := func(name, help string, value func() float64) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	yes := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	gauge("settings_revision", "The revision in force on this pod.",
		func() float64 { return float64(k.Current().revision) })
	gauge("settings_count", "Settings in the snapshot in force.",
		func() float64 { return float64(k.Current().Len()) })
	gauge("settings_from_database", "1 once the snapshot in force comes from the database.",
		func() float64 { return yes(k.Current().source == SourceDatabase) })
	gauge("settings_age_seconds", "Seconds since the database last confirmed the snapshot in force.",
		func() float64 { return k.Status().Age.Seconds() })
	gauge("settings_stale", "1 while the snapshot is older than MAX_STALENESS and this pod has closed its gate.",
		func() float64 { return yes(k.Stale()) })
	gauge("settings_maintenance_active", "1 while this pod's maintenance is on.",
		func() float64 { return yes(k.Maintenance().ActiveNow()) })
	m := &metrics{
		commits: f.NewCounter(prometheus.CounterOpts{
			Name: "settings_commits_applied_total", Help: "Commits put in force from their notification.",
		}),
		repairs: f.NewCounterVec(prometheus.CounterOpts{
			Name: "settings_repairs_total",
			Help: "What a full read put right: behind (the table was newer), unannounced (content changed, revision did not), went_back (the database lost commits).",
		}, []string{"cause"}),
		delay: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "settings_commit_delay_seconds",
			Help:    "From COMMIT, by the database's clock, to in force on this pod, by its own.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		}),
	}
	for _, cause := range []string{"behind", "unannounced", "went_back"} {
		m.repairs.WithLabelValues(cause)
	}
	return m
}

func (m *metrics) observeDelay(at time.Time) {
	if !at.IsZero() {
		m.delay.Observe(max(0, time.Since(at).Seconds()))
	}
}
