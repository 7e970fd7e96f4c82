package httpx

import (
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
)

// line holds the routes of one address.
type line struct{ *echo.Echo }

func (s *Server) newLine() line {
	e := echo.New()
	e.Logger.SetOutput(io.Discard) // we have a log of our own
	e.IPExtractor = proxies(s.trusted).clientIP
	e.HTTPErrorHandler = s.fail
	e.Use(s.requestID, s.observe, s.recovered)
	return line{e}
}

// ServeHTTP makes sure that a request of any form is routed, and so meets the guards.
func (l line) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.URL.Path, "/") { // http://host without a slash, OPTIONS *, CONNECT
		r.URL.Path = "/"
	}
	withBody(l.Echo, w, r)
}

// group is a set of routes behind the same guards, which are listed outermost first.
type group struct {
	echo   *echo.Echo
	prefix string
	guards []echo.MiddlewareFunc
}

func (l line) group(prefix string, guards ...echo.MiddlewareFunc) group {
	return group{l.Echo, prefix, guards}
}

// handle serves a path for all methods. RouteNotFound is Echo's only way to register
// every method, even unknown ones. Otherwise, a method that the path lacks would
// fall through to the catch-all, and so to the upstream. The guards wrap the handler
// here, once, because Echo would wrap it anew, and allocate, for each request.
func (g group) handle(path string, h echo.HandlerFunc) {
	for _, guard := range slices.Backward(g.guards) {
		h = guard(h)
	}
	g.echo.RouteNotFound(g.prefix+path, h)
}

// methods are a path's handlers by method. GET also serves HEAD, and every path
// answers OPTIONS.
type methods map[string]echo.HandlerFunc

func get(h echo.HandlerFunc) echo.HandlerFunc { return methods{http.MethodGet: h}.serve }

func (m methods) serve(c echo.Context) error {
	method := c.Request().Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if h, ok := m[method]; ok {
		return h(c)
	}
	allow := append(slices.Collect(maps.Keys(m)), http.MethodHead, http.MethodOptions)
	slices.Sort(allow)
	c.Response().Header().Set(echo.HeaderAllow, strings.Join(allow, ", "))
	if method == http.MethodOptions {
		return c.NoContent(http.StatusNoContent)
	}
	return methodNotAllowed.because("This path does not allow the method %.32q; it allows %s.", method, strings.Join(allow, ", "))
}

func unknown(echo.Context) error { return echo.ErrNotFound }

// keyOf returns the key in the path. If the path is not escaped in the usual way,
// Echo matches it as it was sent, and its parameters are still escaped.
func keyOf(c echo.Context) string {
	key := c.Param("key")
	if c.Request().URL.RawPath != "" {
		if plain, err := url.PathUnescape(key); err == nil {
			return plain
		}
	}
	return key
}

// maxMethod is how much of a request's method is logged, in bytes.
const maxMethod = 32

func methodOf(r *http.Request) string { return r.Method[:min(len(r.Method), maxMethod)] }

// maxPath is how much of a request's path is repeated in answers and logs, in bytes.
const maxPath = 256

// pathOf returns the request's path, escaped, without its query, at most maxPath bytes.
func pathOf(r *http.Request) string {
	path := r.URL.EscapedPath()
	return path[:min(len(path), maxPath)]
}
