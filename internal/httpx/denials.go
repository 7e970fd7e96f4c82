package httpx

import (
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"go.uber.org/zap"
)

// The reasons for which a request is denied, as the metric names them.
const (
	denialMissing = "missing" // there is no token
	denialInvalid = "invalid" // its token is not one of ours
	denialRole    = "role"    // its token's role is too low
)

var denialReasons = []string{denialMissing, denialInvalid, denialRole}

// denials bounds the log lines about denied requests. Anybody can send such
// requests, so a flood of them must not fill the disk. Each reason has a limiter
// of its own, so that a flood of one kind does not hide another: a role that is
// too low means an insider. The zero value is ready for use.
type denials struct{ missing, invalid, role limiter }

func (d *denials) limiter(reason string) *limiter {
	switch reason {
	case denialMissing:
		return &d.missing
	case denialInvalid:
		return &d.invalid
	}
	return &d.role
}

// denied counts a denied request, and logs it at a bounded rate. That line
// replaces the one that every other request gets.
func (s *Server) denied(c echo.Context, p *problem) {
	c.Set(quietKey, true)
	reason := denialRole
	if p.is(unauthorized) {
		reason = denialInvalid
		if c.Request().Header.Values(echo.HeaderAuthorization) == nil {
			reason = denialMissing
		}
	}
	s.metrics.denied.WithLabelValues(reason).Inc()
	suppressed, ok := s.denials.limiter(reason).allow(time.Now())
	if !ok {
		return
	}
	method, path := s.shown(c.Request())
	s.log.Warn("denied", zap.String("reason", reason), zap.Int("status", p.Status),
		zap.String("caller", callerOf(c).name), zap.String("client_ip", c.RealIP()),
		zap.String("method", method), zap.String("path", path), zap.String("route", c.Path()),
		zap.String("detail", p.Detail), zap.Int("suppressed", suppressed), logRequestID(c))
}

// A limiter allows limiterBurst events at once, and then one in each interval.
const (
	limiterBurst    = 10
	limiterInterval = time.Second
)

// limiter is a token bucket. The zero value is full.
type limiter struct {
	mu         sync.Mutex
	full       time.Time // when the bucket will be full again
	suppressed int       // since the last event that was allowed
}

// allow reports whether one more event is allowed now. If so, suppressed is the
// number of events that were not allowed since the last one that was.
func (l *limiter) allow(now time.Time) (suppressed int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.full.Before(now) {
		l.full = now
	}
	if l.full.Sub(now) > (limiterBurst-1)*limiterInterval {
		l.suppressed++
		return 0, false
	}
	l.full = l.full.Add(limiterInterval)
	suppressed, l.suppressed = l.suppressed, 0
	return suppressed, true
}
