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

// gate turns requests away while maintenance is on, or while this pod cannot
// know whether it is. A request that has passed may finish.
func (s *Server) gate(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if p := s.closed(c.Request().Method); p != nil {
			return s.refuse(c, p)
		}
		return next(c)
	}
}

// verdict tells a proxy in front what the gate would do with the request that
// it asks about.
func (s *Server) verdict(c echo.Context) error {
	if p := s.closed(askedMethod(c.Request())); p != nil {
		return s.refuse(c, p)
	}
	noStore(c)
	return send(c, http.StatusOK, typeText, []byte("open\n"))
}

// closed is why the gate is closed to a method; nil: it is open.
func (s *Server) closed(method string) *problem {
	m := s.engine.Maintenance()
	stale := s.engine.Stale()
	if !stale && open(m, method) {
		return nil
	}
	now := time.Now()
	if stale && !m.Active(now) {
		p := staleSettings.because("This pod has lost its database for so long that it may not know about a change, so it turns requests away. It opens again by itself; /readyz says how it is doing.")
		p.RetryAfter = retryAfter(staleRetry)
		return p
	}
	p := underMaintenance.because("%s", m.Message)
	if m.Message == "" {
		p.Detail = "The platform is under maintenance. Please try again later."
	}
	p.Until = orNull(m.Until(now))
	p.RetryAfter = retryAfter(m.RetryIn(now))
	return p
}

// staleRetry is when to try a pod again that has lost its database.
const staleRetry = 10 * time.Second

func open(m *settings.Maintenance, method string) bool {
	if !m.ActiveNow() {
		return true
	}
	return m.ReadOnly && reads(method)
}

// askedMethod is that of the request that a proxy asks about. Traefik and Caddy
// say it in X-Forwarded-Method, nginx in X-Original-Method where it is configured
// so, and Envoy keeps it. A client can send what its proxy does not overwrite, so
// of several that are named, one that writes counts.
func askedMethod(r *http.Request) string {
	for _, name := range []string{"X-Forwarded-Method", "X-Original-Method"} {
		for _, method := range r.Header.Values(name) {
			if !reads(method) {
				return method
			}
		}
	}
	return r.Method
}

func reads(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// refuse is the gate's 503, in the form that the caller likes best.
func (s *Server) refuse(c echo.Context, p *problem) error {
	s.metrics.rejections.Inc()
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
