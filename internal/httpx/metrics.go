package httpx

import (
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	requests   *prometheus.CounterVec
	duration   *prometheus.HistogramVec
	rejections prometheus.Counter
	denied     *prometheus.CounterVec

	waits        *prometheus.GaugeVec
	waitsRefused *prometheus.CounterVec

	publicConnections, adminConnections atomic.Int64 // open now, by line
}

func newMetrics(c Config) *metrics {
	f := promauto.With(c.Registry)
	m := &metrics{
		requests: f.NewCounterVec(prometheus.CounterOpts{
			Name: "http_requests_total", Help: "Requests answered, by route, method and status class; 499 means that the caller went away first.",
		}, []string{"route", "method", "status"}),
		duration: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "http_request_duration_seconds", Help: "Seconds from a request's header to the end of its answer.",
			Buckets: prometheus.DefBuckets,
		}, []string{"route", "method"}),
		rejections: f.NewCounter(prometheus.CounterOpts{
			Name: "http_gate_rejections_total", Help: "Requests that the gate refused, including those that a proxy asked about at /gate.",
		}),
		waits: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "http_fleet_waits", Help: "Requests with Prefer: wait that are waiting for the fleet now, by kind: report or write.",
		}, []string{"kind"}),
		waitsRefused: f.NewCounterVec(prometheus.CounterOpts{
			Name: "http_fleet_waits_refused_total", Help: "Requests that could not wait because too many others were waiting, by kind: report (answered 429) or write (made, and answered 202 at once).",
		}, []string{"kind"}),
		denied: f.NewCounterVec(prometheus.CounterOpts{
			Name: "http_denied_total", Help: "Requests denied, by reason: missing (no token), invalid (not a valid token), role (the token's role is too low).",
		}, []string{"reason"}),
	}
	for _, reason := range denialReasons {
		m.denied.WithLabelValues(reason) // so that the first denial shows as an increase
	}
	for _, kind := range []string{reportWait, writeWait} {
		m.waits.WithLabelValues(kind)
		m.waitsRefused.WithLabelValues(kind)
	}
	for name, open := range map[string]*atomic.Int64{"public": &m.publicConnections, "admin": &m.adminConnections} {
		if name == "admin" && !c.AdminLine {
			continue
		}
		f.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "http_connections", Help: "Connections open now, by line. With an admin line, the public line has at most MAX_CONNECTIONS.",
			ConstLabels: prometheus.Labels{"line": name},
		}, func() float64 { return float64(open.Load()) })
	}
	if c.AdminLine {
		f.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "http_connections_limit", Help: "MAX_CONNECTIONS. Once the public line has this many, further connections wait in the system's queue.",
		}, func() float64 { return float64(c.MaxConnections) })
	}
	return m
}

// countProblems registers a gauge of the problems that readyz lists in addition to the
// engine's own.
func countProblems(r prometheus.Registerer, problems func() []string) {
	promauto.With(r).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "http_problems", Help: "Problems with the tokens file and the TLS certificate, as /readyz lists them.",
	}, func() float64 { return float64(len(problems())) })
}

// knownMethods bound the label's values, because callers can make up methods.
var knownMethods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
	http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace,
}

func (m *metrics) observe(c echo.Context, took time.Duration) {
	method := c.Request().Method
	if !slices.Contains(knownMethods, method) {
		method = "other"
	}
	status := strconv.Itoa(c.Response().Status/100) + "xx"
	if c.Response().Status == statusCallerLeft {
		status = strconv.Itoa(statusCallerLeft)
	}
	m.requests.WithLabelValues(c.Path(), method, status).Inc()
	m.duration.WithLabelValues(c.Path(), method).Observe(took.Seconds())
}
