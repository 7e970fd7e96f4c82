package settings

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics of an engine. What can be asked for is asked for on a scrape, not kept.
type metrics struct {
	commits    prometheus.Counter
	heard      prometheus.Counter
	old        prometheus.Counter
	gaps       prometheus.Counter
	unreadable prometheus.Counter
	repairs    *prometheus.CounterVec
	reads      prometheus.Counter
	polls      *prometheus.CounterVec
	reconnects prometheus.Counter
	delay      prometheus.Histogram

	looks       *prometheus.CounterVec
	convergence prometheus.Histogram
	forgotten   prometheus.Counter
}

func newMetrics(e *Engine, r prometheus.Registerer) *metrics {
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
		func() float64 { return float64(e.Current().revision) })
	gauge("settings_count", "Settings in the snapshot in force.",
		func() float64 { return float64(e.Current().Len()) })
	gauge("settings_from_database", "1 once the snapshot in force comes from the database.",
		func() float64 { return yes(e.Current().source == SourceDatabase) })
	gauge("settings_age_seconds", "Seconds since the database last confirmed the snapshot in force.",
		func() float64 { return e.Status().Age.Seconds() })
	gauge("settings_listener_live", "1 while the listener is live; 0 while changes arrive by the poll alone.",
		func() float64 { return yes(e.listening()) })
	gauge("settings_problems", "What is degraded now, as listed by /readyz.",
		func() float64 { return float64(len(e.Status().Problems)) })
	gauge("settings_stale", "1 while the snapshot is older than MAX_STALENESS and this pod has closed its gate.",
		func() float64 { return yes(e.Stale()) })
	gauge("settings_maintenance_active", "1 while this pod's maintenance is on.",
		func() float64 { return yes(e.Maintenance().ActiveNow()) })

	for state, count := range map[PodState]func(*fleetSize) int64{
		PodCurrent: func(s *fleetSize) int64 { return s.current },
		PodBehind:  func(s *fleetSize) int64 { return s.behind },
		PodLost:    func(s *fleetSize) int64 { return s.lost },
	} {
		f.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "settings_fleet_pods", ConstLabels: prometheus.Labels{"state": string(state)},
			Help: "Pods in the fleet's register as of this pod's last poll, by state; all 0 where that is not known.",
		}, func() float64 {
			if s := e.fleetSize.Load(); s != nil {
				return float64(count(s))
			}
			return 0
		})
	}
	gauge("settings_fleet_slowest_seconds", "The age of the oldest commit that some pod lacks, lost ones apart, as of this pod's last poll.",
		func() float64 {
			if s := e.fleetSize.Load(); s != nil {
				return s.slowest.Seconds()
			}
			return 0
		})

	notifications := f.NewCounterVec(prometheus.CounterOpts{
		Name: "settings_notifications_total",
		Help: "Notifications: commit (all readable ones), of these old or gap (not the next revision, or too large to carry); unreadable.",
	}, []string{"result"})
	m := &metrics{
		heard:      notifications.WithLabelValues("commit"),
		old:        notifications.WithLabelValues("old"),
		gaps:       notifications.WithLabelValues("gap"),
		unreadable: notifications.WithLabelValues("unreadable"),
		commits: f.NewCounter(prometheus.CounterOpts{
			Name: "settings_commits_applied_total", Help: "Commits put in force from their notification.",
		}),
		repairs: f.NewCounterVec(prometheus.CounterOpts{
			Name: "settings_repairs_total",
			Help: "What a full read put right: behind (the table was newer), unannounced (content changed, revision did not), went_back (the database lost commits); deaf: listeners restarted.",
		}, []string{"cause"}),
		reads: f.NewCounter(prometheus.CounterOpts{
			Name: "settings_full_reads_total", Help: "Full reads of the table begun.",
		}),
		polls: f.NewCounterVec(prometheus.CounterOpts{
			Name: "settings_polls_total", Help: "Looks of the poller at the database: ok or failed.",
		}, []string{"result"}),
		reconnects: f.NewCounter(prometheus.CounterOpts{
			Name: "settings_listener_ended_total", Help: "Listener connections that ended or could not be made.",
		}),
		delay: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "settings_commit_delay_seconds",
			Help:    "From COMMIT, by the database's clock, to in force on this pod, by its own.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		}),
		looks: f.NewCounterVec(prometheus.CounterOpts{
			Name: "settings_fleet_looks_total", Help: "Looks at the fleet's register for all who asked for a report meanwhile: ok or failed.",
		}, []string{"result"}),
		convergence: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "settings_fleet_convergence_seconds",
			Help:    "From COMMIT until the whole fleet was known to have it in force, by the database's clock; of the commits that somebody waited for on this pod.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}),
		forgotten: f.NewCounter(prometheus.CounterOpts{
			Name: "settings_fleet_dropped_total", Help: "Lost pods that this pod dropped from the fleet's register.",
		}),
	}
	for _, v := range []string{"behind", "unannounced", "went_back", "deaf"} {
		m.repairs.WithLabelValues(v)
	}
	return m
}

func (m *metrics) observeDelay(at time.Time) {
	if !at.IsZero() {
		m.delay.Observe(max(0, time.Since(at).Seconds()))
	}
}
