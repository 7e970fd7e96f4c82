package httpx

import (
	"net/http"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"platform-settings/settings"
)

// livez depends on nothing, because a restart would not repair a database.
func livez(c echo.Context) error {
	noStore(c)
	return send(c, http.StatusOK, typeText, []byte("ok\n"))
}

type readiness struct {
	Status     string            `json:"status"`
	Source     settings.Source   `json:"source"`
	Revision   settings.Revision `json:"revision"`
	AgeSeconds float64           `json:"age_seconds"`
	Listener   string            `json:"listener"`
	Problems   []string          `json:"problems"`
	Pod        string            `json:"pod"`
}

// readyz says whether this pod should get requests. It should even during
// maintenance, because its refusals are what tells callers about it.
func (s *Server) readyz(c echo.Context) error {
	now := s.engine.Status()
	r := readiness{
		Status: "ok", Source: now.Source, Revision: now.Revision, AgeSeconds: now.Age.Seconds(),
		Listener: now.Listener, Problems: append(s.problems(), now.Problems...), Pod: s.pod,
	}
	status := http.StatusOK
	if len(r.Problems) > 0 {
		r.Status = "degraded"
	}
	if !r.Source.Known() {
		r.Status, status = "unready", http.StatusServiceUnavailable
	}
	select {
	case <-s.draining:
		r.Status, status = "unready", http.StatusServiceUnavailable
		r.Problems = append(r.Problems, "this pod is stopping")
	default:
	}
	noStore(c)
	return sendJSON(c, status, typeJSON, r)
}

// problems returns those that the engine does not know about. It is never nil.
func (s *Server) problems() []string {
	problems := []string{}
	if problem := s.tokens.Problem(); problem != "" {
		problems = append(problems, problem)
	}
	if s.certificate != nil {
		if problem := s.certificate.Problem(); problem != "" {
			problems = append(problems, problem)
		}
	}
	return problems
}

func metricsPage(r *prometheus.Registry) echo.HandlerFunc {
	serve := echo.WrapHandler(promhttp.HandlerFor(r, promhttp.HandlerOpts{}))
	return func(c echo.Context) error {
		noSniff(c)
		return serve(c)
	}
}
