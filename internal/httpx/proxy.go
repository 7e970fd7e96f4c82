package httpx

import (
	"bufio"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"time"

	"github.com/labstack/echo/v4"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// maxIdleUpstream connections to the upstream are kept, which is one host.
const maxIdleUpstream = 256

// proxy hands requests to the upstream, as they came: also streams, websockets,
// and bodies of any size.
func (s *Server) proxy(upstream *url.URL) echo.HandlerFunc {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil // the address is what was configured, whatever HTTP_PROXY says
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = maxIdleUpstream, maxIdleUpstream
	transport.DisableCompression = true // encodings are between the caller and the upstream

	log, _ := zap.NewStdLogAt(s.log, zapcore.DebugLevel)
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { s.rewrite(r, upstream) },
		Transport: transport,
		ErrorLog:  log,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			w.(*passage).err = err
		},
	}
	return func(c echo.Context) error {
		// The connection may have served one of our own routes, which leave theirs.
		_ = http.NewResponseController(c.Response()).SetWriteDeadline(time.Time{})
		w := &passage{Response: c.Response(), id: requestIDOf(c)}
		proxy.ServeHTTP(w, c.Request())
		if w.err == nil {
			return nil
		}
		p := upstreamUnreachable.because("The platform behind the gate could not be reached, or broke off. Try again; if it lasts, check UPSTREAM_URL and what answers there.")
		if c.Request().Context().Err() == nil { // else the caller has gone
			p.cause = w.err
		}
		return p
	}
}

func (s *Server) rewrite(r *httputil.ProxyRequest, upstream *url.URL) {
	r.Out.URL.RawQuery = r.In.URL.RawQuery // also what Go cannot parse
	r.SetURL(upstream)
	r.Out.Host = r.In.Host
	if _, ours := s.bearer(r.In.Header); ours {
		r.Out.Header.Del("Authorization") // our tokens are none of the upstream's business
	}
	trusted := s.trusts(r.In.RemoteAddr)
	if trusted {
		r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
	}
	r.SetXForwarded()
	if !trusted {
		r.Out.Header.Del("X-Real-Ip")
	} else {
		for _, name := range []string{"X-Forwarded-Host", "X-Forwarded-Proto"} {
			if said := r.In.Header[name]; said != nil {
				r.Out.Header[name] = said
			}
		}
	}
}

func (s *Server) trusts(peer string) bool {
	address, err := netip.ParseAddrPort(peer)
	return err == nil && slices.ContainsFunc(s.trusted, func(p netip.Prefix) bool {
		return p.Contains(address.Addr().Unmap())
	})
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
		other := s.echo.AcquireContext()
		defer s.echo.ReleaseContext(other)
		other.Reset(r, c.Response())
		s.echo.Router().Find(r.Method, plain, other)
		if other.Path() != c.Path() {
			return notFound.because("This is another spelling of a path that the settings service keeps for itself. Ask for %.256q.", plain)
		}
		return next(c)
	}
}

// passage is how an upstream's answer passes Echo, which takes the first status
// for the last and does not know about connections that are taken over.
type passage struct {
	*echo.Response
	id  string
	err error
}

func (p *passage) WriteHeader(status int) {
	if status < 200 && status != http.StatusSwitchingProtocols {
		p.Writer.WriteHeader(status)
		return
	}
	p.Header().Set(echo.HeaderXRequestID, p.id) // ours, not one more
	p.Response.WriteHeader(status)
}

func (p *passage) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := p.Response.Hijack()
	if err == nil {
		p.Status, p.Committed = http.StatusSwitchingProtocols, true
	}
	return conn, rw, err
}
