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

// requestID names the request: as the caller did, if the name is sane. The
// upstream gets it too, and so does the log.
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

// quiet marks routes that are asked all the time: logged at debug level only. So
// are requests that are denied, which have a line of their own.
func quiet(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		c.Set(quietKey, true)
		return next(c)
	}
}

// observe measures and logs each request once it is answered, also where the
// answer is aborted by a panic.
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

// withheld stands in the log for what holds a token of ours.
const withheld = "(withheld: it holds a token)"

// shown is what the log may have of what was asked for.
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

// recovered makes a panic a 500, and logs where it came from.
func (s *Server) recovered(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v == http.ErrAbortHandler { // how the proxy ends an answer that broke off
				panic(v)
			}
			s.log.Error("panic", zap.String("panic", fmt.Sprint(v)), zap.ByteString("stack", debug.Stack()), logRequestID(c))
			if c.Response().Committed {
				panic(http.ErrAbortHandler) // else the caller would take what it got for all of it
			}
			err = fmt.Errorf("panic: %v", v)
		}()
		return next(c)
	}
}

// Limits of our own routes. A write may take the engine 13 s.
const (
	maxBody       = 1 << 20
	bodyWait      = 10 * time.Second
	answerTimeout = 30 * time.Second
)

// bounded keeps a slow or endless caller from holding one of our own routes.
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
