// Package httpx serves the settings over HTTP, and is the gate in front of the
// platform.
package httpx

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	source "platform-settings/internal/settings"
)

// Config configures a server.
type Config struct {
	// Engine holds the settings. Required.
	Engine *source.Engine

	// Tokens say who may call the admin API. Nil: there are none, and the admin API is
	// off. The caller of [New] must run them with [Tokens.Run].
	Tokens *Tokens

	// Certificate makes the server speak TLS only. Nil: plain HTTP. The caller of [New]
	// must run it with [Certificate.Run].
	Certificate *Certificate

	// Upstream is the platform behind the gate. Nil: a landing page instead.
	Upstream *url.URL

	// TrustedProxies are the peers whose Forwarded and X-Forwarded-… headers are
	// trusted. Empty: no peer's.
	TrustedProxies []netip.Prefix

	// Origins are the origins whose scripts may read our own answers. Nil: none.
	Origins Origins

	// AdminLine moves the admin API and the metrics from the public line to a line of
	// their own; see [Lines].
	AdminLine bool

	// MaxConnections is how many connections the public line takes at once. Further
	// ones wait in the system's queue. 0: no limit. It requires AdminLine, because on a
	// single line the limit would lock out the switch and the probes.
	MaxConnections int

	// Pod is this process's name.
	Pod string

	// Log gets a line for each request, and lines about denials and faults. Nil: nothing
	// is logged.
	Log *zap.Logger

	// Registry holds the metrics that /metrics serves. [New] registers the request
	// metrics on it. Required.
	Registry *prometheus.Registry
}

// Server serves HTTP. Make one with [New].
type Server struct {
	engine      *source.Engine
	tokens      *Tokens
	certificate *Certificate
	trusted     []netip.Prefix
	origins     Origins
	pod         string
	log         *zap.Logger
	metrics     *metrics
	waits       *waits
	encoded     encodings
	status      encodedStatus
	denials     denials
	door        *gate
	public      line
	admin       line          // its Echo is nil without Config.AdminLine
	draining    chan struct{} // closed when the drain begins

	maxConnections int
}

// New makes a server. It fails if the config is invalid. It does no I/O and starts
// nothing.
func New(c Config) (*Server, error) {
	switch {
	case c.Engine == nil:
		return nil, errors.New("httpx: Config.Engine is required")
	case c.Registry == nil:
		return nil, errors.New("httpx: Config.Registry is required")
	case c.MaxConnections < 0:
		return nil, errors.New("httpx: Config.MaxConnections is negative")
	case c.MaxConnections > 0 && !c.AdminLine:
		return nil, errors.New("httpx: Config.MaxConnections needs Config.AdminLine: the limit would lock out the switch and the probes")
	}
	s := &Server{
		engine:      c.Engine,
		tokens:      c.Tokens,
		certificate: c.Certificate,
		trusted:     c.TrustedProxies,
		origins:     c.Origins,
		pod:         c.Pod,
		log:         c.Log,
		metrics:     newMetrics(c),
		draining:    make(chan struct{}),

		maxConnections: c.MaxConnections,
	}
	s.waits = newWaits(s.metrics)
	if s.tokens == nil {
		s.tokens, _ = LoadTokens(nil, "", nil) // without a file it cannot fail
	}
	countProblems(c.Registry, s.problems)
	if s.log == nil {
		s.log = zap.NewNop()
	}
	s.door = &gate{keeper: c.Engine.Keeper, origins: c.Origins, rejections: s.metrics.rejections}
	s.routes(c)
	return s, nil
}

// routes registers every path with its guards. Only the platform is behind the gate.
func (s *Server) routes(c Config) {
	s.public = s.newLine()
	s.reading(s.public)
	if c.AdminLine {
		s.admin = s.newLine()
		s.reading(s.admin)
		s.operating(s.admin, c.Registry)
		s.admin.group("").handle("/*", unknown)
		hidden := s.public.group("", bounded) // from the platform too, because a token may be sent here by mistake
		for _, path := range []string{"/metrics", "/api/v1/admin", "/api/v1/admin/*", "/console", "/console/*"} {
			hidden.handle(path, unknown)
		}
	} else {
		s.operating(s.public, c.Registry)
	}

	asking := s.public.group("/gate", bounded)
	asking.handle("", s.verdict(http.StatusServiceUnavailable, askedReads))
	asking.handle("/*", unknown)
	for path, status := range map[string]int{"/deny/401": http.StatusUnauthorized, "/deny/403": http.StatusForbidden} {
		asking.handle(path, s.verdict(status, askedReads))
		asking.handle(path+"/", s.verdict(status, askedReads))
		asking.handle(path+"/*", s.verdict(status, askedKeepingMethod))
	}

	platform := s.public.group("", s.gate)
	if c.Upstream != nil {
		platform.handle("/*", s.ownPathsStay(s.proxy(c.Upstream)))
	} else {
		platform.handle("/", get(landing))
		platform.handle("/*", unknown)
	}
}

// reading registers the routes that anybody may read, on either line.
func (s *Server) reading(l line) {
	health := l.group("", quiet, bounded)
	health.handle("/livez", get(livez))
	health.handle("/readyz", get(s.readyz))

	public := l.group("/api/v1/maintenance", s.shared, bounded)
	public.handle("", get(s.maintenance))
	public.handle("/page", s.page)

	reading := l.group("/api/v1/settings", s.shared, bounded, s.identify)
	reading.handle("", get(s.settings))
	reading.handle("/", unknown)
	reading.handle("/:key", get(s.setting))
	reading.handle("/:key/*", unknown)
}

// operating registers the routes that belong to the admin line, or to the public one
// if there is no admin line.
func (s *Server) operating(l line, registry *prometheus.Registry) {
	l.group("", quiet, bounded).handle("/metrics", get(metricsPage(registry)))

	admin := l.group("/api/v1/admin", bounded, s.adminEnabled, s.identify, allow(viewer))
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
}

// Handler returns the public line, for use with an http.Server of the caller's own.
// Only [Server.Serve] limits how long a connection may stay open after its request
// was refused.
func (s *Server) Handler() http.Handler { return s.public }

// AdminHandler returns the admin line, or nil without [Config.AdminLine].
func (s *Server) AdminHandler() http.Handler {
	if s.admin.Echo == nil {
		return nil
	}
	return s.admin
}
