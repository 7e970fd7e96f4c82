package httpx

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	requests   *prometheus.CounterVec
	duration   *prometheus.HistogramVec
	rejections prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	return &metrics{
		requests: f.NewCounterVec(prometheus.CounterOpts{
			Name: "http_requests_total", Help: "Requests answered, by route, method and class of status.",
		}, []string{"route", "method", "status"}),
		duration: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "http_request_duration_seconds", Help: "From a request's header to the end of its answer.",
			Buckets: prometheus.DefBuckets,
		}, []string{"route", "method"}),
		rejections: f.NewCounter(prometheus.CounterOpts{
			Name: "http_gate_rejections_total", Help: "Requests that the gate turned away, those asked about at /gate included.",
		}),
	}
}

// countProblems measures what readyz lists besides the engine's own problems.
func countProblems(r prometheus.Registerer, problems func() []string) {
	promauto.With(r).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "http_problems", Help: "Problems with the tokens file and the TLS certificate, as /readyz lists them.",
	}, func() float64 { return float64(len(problems())) })
}

// knownMethods bound the label; callers may make up methods.
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
	m.requests.WithLabelValues(c.Path(), method, status).Inc()
	m.duration.WithLabelValues(c.Path(), method).Observe(took.Seconds())
}
