package httpx

import (
	"net/http"

	"github.com/labstack/echo/v4"
)

// gate hangs the gate before a group of routes. A request that has passed may
// finish.
func (s *Server) gate(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		refused := s.door.check(c.Request(), reads)
		if refused == nil {
			return next(c)
		}
		if r := c.Request(); s.origins.preflight(r) {
			s.origins.answerPreflight(c.Response(), r, "0") // the next one may pass, and be the platform's to judge
			return nil
		}
		s.origins.share(c.Response(), c.Request())
		refused.send(c.Response(), c.Request(), http.StatusServiceUnavailable)
		return nil
	}
}

// verdict tells a proxy in front what the gate would do with the request that it
// asks about: 200, or a status that the proxy takes for a denial.
func (s *Server) verdict(denied int, reads func(*http.Request) bool) echo.HandlerFunc {
	return func(c echo.Context) error {
		if refused := s.door.check(c.Request(), reads); refused != nil {
			if s.origins.preflight(askedAbout(c.Request())) { // 204 would let it pass: the proxy has to make a success of it
				s.origins.permit(c.Response(), c.Request(), "0")
			} else {
				s.origins.share(c.Response(), c.Request())
			}
			refused.send(c.Response(), c.Request(), denied)
			return nil
		}
		noStore(c)
		return send(c, http.StatusOK, typeText, []byte("open\n"))
	}
}

// askedAbout is a proxy's question with the method that it names.
func askedAbout(r *http.Request) *http.Request {
	named := askedMethods(r.Header)
	if len(named) == 0 {
		return r
	}
	asked := *r
	asked.Method = named[0]
	return &asked
}

// page is the refusal itself, for a proxy's error page: whatever the method, and
// also where the gate has opened since the proxy asked.
func (s *Server) page(c echo.Context) error {
	refused := s.door.refusal(s.engine.Maintenance(), s.engine.Stale())
	refused.send(c.Response(), c.Request(), http.StatusServiceUnavailable)
	return nil
}

// shared lets scripts on the configured origins read what a group answers.
func (s *Server) shared(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if s.origins.preflight(c.Request()) {
			s.origins.answerPreflight(c.Response(), c.Request(), "600")
			return nil
		}
		s.origins.share(c.Response(), c.Request())
		return next(c)
	}
}
