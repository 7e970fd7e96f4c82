package httpx

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"platform-settings/internal/settings"
)

// gate turns requests away while maintenance is on. A request that has passed
// may finish.
func (s *Server) gate(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		m := s.engine.Maintenance()
		if open(m, c.Request().Method) {
			return next(c)
		}
		return s.refuse(c, m)
	}
}

// verdict tells a proxy in front what the gate would do with the request that
// it asks about.
func (s *Server) verdict(c echo.Context) error {
	m := s.engine.Maintenance()
	if !open(m, originalMethod(c.Request())) {
		return s.refuse(c, m)
	}
	noStore(c)
	return send(c, http.StatusOK, typeText, []byte("open\n"))
}

func open(m *settings.Maintenance, method string) bool {
	if !m.ActiveNow() {
		return true
	}
	return m.ReadOnly && (method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions)
}

// originalMethod is that of the request that a proxy asks about. Traefik and
// Caddy say it in a header, nginx where it is configured so, and Envoy keeps it.
func originalMethod(r *http.Request) string {
	for _, name := range []string{"X-Forwarded-Method", "X-Original-Method"} {
		if method := r.Header.Get(name); method != "" {
			return method
		}
	}
	return r.Method
}

// refuse is the gate's 503, in the form that the caller likes best.
func (s *Server) refuse(c echo.Context, m *settings.Maintenance) error {
	s.metrics.rejections.Inc()
	now := time.Now()
	p := underMaintenance.because("%s", m.Message)
	if m.Message == "" {
		p.Detail = "The platform is under maintenance. Please try again later."
	}
	p.Until = orNull(m.Until(now))
	p.RetryAfter = retryAfter(m.RetryIn(now))

	noStore(c)
	header := c.Response().Header()
	header.Set(echo.HeaderVary, echo.HeaderAccept)
	header.Set(echo.HeaderRetryAfter, strconv.FormatInt(p.RetryAfter, 10))
	switch preferred(strings.Join(c.Request().Header.Values(echo.HeaderAccept), ",")) {
	case formHTML:
		return sendPage(c, p.Status, page{Title: p.Title, Text: p.Detail, Until: p.Until})
	case formText:
		text := p.Detail + "\n"
		if p.Until != nil {
			text += "Until " + p.Until.Format(time.RFC3339) + ".\n"
		}
		return send(c, p.Status, typeText, []byte(text))
	}
	return p
}

// retryAfter is in whole seconds, never early, and up to a tenth later, lest all
// who were turned away come back at once.
func retryAfter(in time.Duration) int64 {
	seconds := int64((in + time.Second - 1) / time.Second)
	return seconds + rand.N(seconds/10+1)
}
