package httpx

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"regexp"
	"runtime/debug"
	"time"

	"github.com/labstack/echo/v4"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

var saneRequestID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// requestID gives the request an ID: the caller's if it is sane, else a random one.
// It is passed to the upstream and written to the log, too.
func (s *Server) requestID(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		id := c.Request().Header.Get(echo.HeaderXRequestID)
		if !saneRequestID.MatchString(id) || s.tokens.in(id) {
			id = rand.Text()
		}
		c.Request().Header.Set(echo.HeaderXRequestID, id)
		c.Response().Header().Set(echo.HeaderXRequestID, id)
		return next(c)
	}
}

func requestIDOf(c echo.Context) string { return c.Request().Header.Get(echo.HeaderXRequestID) }

func logRequestID(c echo.Context) zap.Field { return zap.String("request_id", requestIDOf(c)) }

const quietKey = "quiet"

// quiet marks routes that are requested all the time, so that their requests are
// logged at debug level only. Denied requests are marked too, because [Server.denied]
// writes a line about them.
func quiet(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		c.Set(quietKey, true)
		return next(c)
	}
}

// observe measures and logs each request once it is answered, even if a panic
// aborts the answer.
func (s *Server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start := time.Now()
		defer func() {
			took := time.Since(start)
			s.metrics.observe(c, took)
			level := zapcore.InfoLevel
			if c.Get(quietKey) != nil {
				level = zapcore.DebugLevel
			}
			entry := s.log.Check(level, "request")
			if entry == nil {
				return
			}
			method, path := s.shown(c.Request())
			fields := []zap.Field{
				zap.String("method", method), zap.String("path", path),
				zap.String("route", c.Path()), zap.Int("status", c.Response().Status),
				zap.Duration("duration", took), zap.Int64("bytes", c.Response().Size),
				zap.String("client_ip", c.RealIP()), logRequestID(c),
			}
			if who := callerOf(c); who.role != 0 {
				fields = append(fields, zap.String("actor", who.name))
			}
			entry.Write(fields...)
		}()
		if err := next(c); err != nil {
			c.Error(err)
		}
		return nil
	}
}

// withheld replaces, in the log, a method or path that contains one of our tokens.
const withheld = "(withheld: it holds a token)"

// shown returns a request's method and path in a form that is safe to log.
func (s *Server) shown(r *http.Request) (method, path string) {
	method, path = methodOf(r), pathOf(r)
	if s.tokens.in(r.Method) {
		method = withheld
	}
	if s.tokens.in(r.URL.EscapedPath()) {
		path = withheld
	}
	return method, path
}

// recovered turns a panic into a 500, and logs its stack.
func (s *Server) recovered(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v == http.ErrAbortHandler { // with it the proxy aborts an answer that broke off
				panic(v)
			}
			s.log.Error("panic", zap.String("panic", fmt.Sprint(v)), zap.ByteString("stack", debug.Stack()), logRequestID(c))
			if c.Response().Committed {
				panic(http.ErrAbortHandler) // else the caller would take a partial answer for the whole
			}
			err = fmt.Errorf("panic: %v", v)
		}()
		return next(c)
	}
}

// Limits of our own routes. A write may take the engine up to 13 s.
const (
	maxBody       = 1 << 20
	bodyWait      = 10 * time.Second
	answerTimeout = 30 * time.Second
)

// bounded limits the size and time of requests to our own routes, so that slow or
// endless callers cannot occupy them.
func bounded(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		now, control := time.Now(), http.NewResponseController(c.Response())
		_ = control.SetWriteDeadline(now.Add(answerTimeout))
		if r := c.Request(); r.ContentLength != 0 {
			_ = control.SetReadDeadline(now.Add(bodyWait))
			r.Body = http.MaxBytesReader(c.Response().Writer, r.Body, maxBody)
		}
		return next(c)
	}
}
