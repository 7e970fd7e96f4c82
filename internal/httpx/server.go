// Package httpx serves the settings over HTTP, and holds the gate before the
// platform.
package httpx

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"platform-settings/internal/settings"
)

// Config is what a server needs.
type Config struct {
	// Engine holds the settings. Required.
	Engine *settings.Engine

	// Tokens say who may call the admin API. Nil: there is none. The caller runs
	// them.
	Tokens *Tokens

	// Certificate is for TLS, which the server then speaks alone. Nil: plain
	// HTTP. The caller runs it.
	Certificate *Certificate

	// Upstream is the platform behind the gate. Nil: a landing page.
	Upstream *url.URL

	// TrustedProxies are the peers whose X-Forwarded-… headers are believed.
	// Empty: nobody's.
	TrustedProxies []netip.Prefix

	// Pod is this process's name.
	Pod string

	// Log gets a line a request, denials and faults. Nil: nothing is logged.
	Log *zap.Logger

	// Registry is what /metrics serves; the request metrics register on it.
	// Required.
	Registry *prometheus.Registry
}

// Server serves HTTP. Make one with [New].
type Server struct {
	engine   *settings.Engine
	tokens   *Tokens
	tls      *Certificate // nil: plain HTTP
	trusted  []netip.Prefix
	pod      string
	log      *zap.Logger
	metrics  *metrics
	echo     *echo.Echo
	draining chan struct{} // closed when the drain begins
}

// New makes a server. It does no I/O and starts nothing.
func New(c Config) *Server {
	s := &Server{
		engine:   c.Engine,
		tokens:   c.Tokens,
		tls:      c.Certificate,
		trusted:  c.TrustedProxies,
		pod:      c.Pod,
		log:      c.Log,
		metrics:  newMetrics(c.Registry),
		echo:     echo.New(),
		draining: make(chan struct{}),
	}
	if s.tokens == nil {
		s.tokens, _ = LoadTokens(nil, "", nil) // fails on a file only
	}
	countProblems(c.Registry, s.problems)
	if s.log == nil {
		s.log = zap.NewNop()
	}
	s.echo.Logger.SetOutput(io.Discard) // ours is the one log
	s.echo.IPExtractor = clientIPs(c.TrustedProxies)
	s.echo.HTTPErrorHandler = s.fail
	s.echo.Use(requestID, s.observe, s.recovered)
	s.routes(c.Upstream, c.Registry)
	return s
}

// routes is every path and its guards. Only the platform is gated.
func (s *Server) routes(upstream *url.URL, registry *prometheus.Registry) {
	health := s.group("", quiet, bounded)
	health.handle("/livez", get(livez))
	health.handle("/readyz", get(s.readyz))
	health.handle("/metrics", get(metricsPage(registry)))

	public := s.group("", bounded)
	public.handle("/gate", s.verdict)
	public.handle("/gate/*", s.verdict) // Envoy appends the original path
	public.handle("/api/v1/maintenance", get(s.maintenance))

	reading := s.group("/api/v1/settings", bounded, s.identify)
	reading.handle("", get(s.settings))
	reading.handle("/", unknown)
	reading.handle("/:key", get(s.setting))
	reading.handle("/:key/*", unknown)

	admin := s.group("/api/v1/admin", bounded, s.adminEnabled, s.identify, allow(viewer))
	admin.handle("", unknown)
	admin.handle("/*", unknown)
	admin.handle("/maintenance", methods{
		http.MethodGet: s.adminMaintenance,
		http.MethodPut: allow(operator)(preference(s.putMaintenance)),
	}.serve)
	admin.handle("/whoami", get(whoami))
	admin.handle("/fleet", get(preference(s.fleet)))
	admin.handle("/settings/:key", methods{
		http.MethodGet:    s.adminSetting,
		http.MethodPut:    allow(operator)(preference(s.putSetting)),
		http.MethodDelete: allow(administrator)(preference(s.deleteSetting)),
	}.serve)
	admin.handle("/settings/:key/*", unknown)

	platform := s.group("", s.gate)
	if upstream != nil {
		platform.handle("/*", s.ownPathsStay(s.proxy(upstream)))
	} else {
		platform.handle("/", get(landing))
		platform.handle("/*", unknown)
	}
}

// Handler is the whole of it, for a server of the caller's own.
func (s *Server) Handler() http.Handler { return s.echo }

// Limits of the server. There is none on how long a request or its answer may
// take: the upstream may stream. Our own routes are bounded one by one.
const (
	headerTimeout  = 5 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 64 << 10
	noticeTime     = time.Second
	drainTimeout   = 10 * time.Second
)

// Serve is called once. It serves until ctx ends. Then readiness is off; after noticeTime no more
// connections are taken, requests in flight have drainTimeout to finish, and
// Serve returns nil.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	log, err := zap.NewStdLogAt(s.log, zapcore.DebugLevel)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	server := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          log,
	}
	failed := make(chan error, 1)
	go func() {
		if s.tls == nil {
			failed <- server.Serve(l)
			return
		}
		server.TLSConfig = s.tls.Config()
		failed <- server.ServeTLS(l, "", "")
	}()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}

	s.log.Info("draining: readiness is off, what is under way may finish")
	close(s.draining)
	server.SetKeepAlivesEnabled(false)
	select { // who balances the load may send more, until it has looked at readiness
	case <-time.After(noticeTime):
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	}
	draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := server.Shutdown(draining); err != nil {
		s.log.Warn("requests were cut off: they outlasted the drain", zap.Duration("drain", drainTimeout))
		_ = server.Close()
	}
	return nil
}
