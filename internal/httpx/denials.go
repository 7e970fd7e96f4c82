package httpx

import (
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"go.uber.org/zap"
)

// Why a request is denied, as the metric has it.
const (
	denialMissing = "missing" // it has no token
	denialInvalid = "invalid" // its token is none of ours
	denialRole    = "role"    // its token's role does not suffice
)

var denialReasons = []string{denialMissing, denialInvalid, denialRole}

// denials bounds the log of requests that are denied. Anybody can send those, and
// however many come, the log must neither fill the disk nor hide one kind behind
// another: a role that does not suffice is an insider. The zero value is ready
// for use.
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

// denied counts a request that is denied and logs it, at a bounded rate. That line
// stands for the one that each request gets.
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

// A limiter allows this many at once, and then one in each interval.
const (
	limiterBurst    = 10
	limiterInterval = time.Second
)

// limiter is a token bucket. The zero value is full.
type limiter struct {
	mu         sync.Mutex
	full       time.Time // when it will be full again
	suppressed int       // since the last one that was allowed
}

// allow says whether one more is allowed now, and if so, how many were not since
// the last that was.
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
