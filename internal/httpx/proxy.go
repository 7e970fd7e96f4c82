package httpx

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"path"

	"github.com/labstack/echo/v4"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// proxy hands requests to the upstream, as they came: also streams, websockets,
// and bodies of any size.
func (s *Server) proxy(upstream *url.URL) echo.HandlerFunc {
	log, _ := zap.NewStdLogAt(s.log, zapcore.DebugLevel)
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { s.rewrite(r, upstream) },
		Transport: upstreamTransport(),
		ErrorLog:  log,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			w.(*passage).err = err
		},
	}
	return func(c echo.Context) error {
		r := c.Request()
		if r.Method == http.MethodConnect || r.Method == "PRI" || r.URL.Opaque != "" { // PRI: the preface of HTTP/2
			return methodNotAllowed.because("This is no proxy to other hosts: it passes requests on to the platform, and no tunnels.")
		}
		if s.tokens.in(r.RequestURI) || s.tokens.in(r.Host) || s.tokens.in(r.Method) {
			r.URL = &url.URL{Path: "/"} // nor may the log, and the problem itself
			return tokenInURL.because("The address holds a token of the admin API, so the request was not passed on. Send tokens in the header Authorization only. Addresses are logged on their way: replace this token.")
		}
		s.tokens.strip(r.Header) // before anything is made of it, such as X-Forwarded-Host
		narrowUpgrade(r)
		body, _ := r.Body.(*incoming)
		if body != nil {
			body.passOn()
		}
		w := newPassage(c, body)
		defer w.finish()
		proxy.ServeHTTP(w, r)
		switch {
		case w.err == nil:
			return nil
		case body != nil && body.slow.Load():
			return bodyTimeout.because("The body came more slowly than %d bytes a second, or stopped for %v. Send it again.", uploading.rate, uploading.patience)
		case r.Context().Err() != nil:
			return callerLeft.because("The caller went away before the platform had answered.")
		case body != nil && body.fault.Load() != nil:
			return body.fault.Load()
		}
		p := upstreamUnreachable.because("The platform behind the gate could not be reached, or broke off. Try again; if it lasts, check UPSTREAM_URL and what answers there.")
		p.cause = w.err
		return p
	}
}

// narrowUpgrade takes out what would make another protocol of the connection:
// nothing reaches the platform that the gate has not judged. Only a websocket's
// handshake keeps its upgrade. To ignore any other is what HTTP allows (RFC 9110,
// 7.8), and clients that offer HTTP/2 with each request go on without it.
func narrowUpgrade(r *http.Request) {
	if hasToken(r.Header["Upgrade"], "websocket") && r.Method == http.MethodGet && r.ContentLength == 0 && r.ProtoAtLeast(1, 1) {
		r.Header["Upgrade"] = []string{"websocket"}
		return
	}
	r.Header.Del("Upgrade")
	r.Header.Del("HTTP2-Settings")
}

// rewrite makes the upstream's request of the caller's.
func (s *Server) rewrite(r *httputil.ProxyRequest, upstream *url.URL) {
	r.Out.URL.RawQuery = r.In.URL.RawQuery // also what Go cannot parse
	r.Out.URL.User = nil                   // from http://user:password@host/, which would become a header
	r.SetURL(upstream)
	r.Out.Host = r.In.Host
	s.passTrailers(r.Out, r.In)
	proxies(s.trusted).forward(r.Out.Header, r.In)
}

// ownPathsStay keeps our own paths, and the tokens sent to them, from the
// upstream, which may read /x/../api/v1/admin or //livez as what it also means.
func (s *Server) ownPathsStay(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		plain := path.Clean("/" + r.URL.Path)
		if plain == r.URL.Path && r.URL.RawPath == "" {
			return next(c)
		}
		other := s.public.AcquireContext()
		defer s.public.ReleaseContext(other)
		other.Reset(r, c.Response())
		s.public.Router().Find(r.Method, plain, other)
		if other.Path() != c.Path() {
			return notFound.because("This is another spelling of a path that the settings service keeps for itself. Ask for %.256q.", plain)
		}
		return next(c)
	}
}
