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

// line is the routes of one address.
type line struct{ *echo.Echo }

func (s *Server) newLine() line {
	e := echo.New()
	e.Logger.SetOutput(io.Discard) // ours is the one log
	e.IPExtractor = proxies(s.trusted).clientIP
	e.HTTPErrorHandler = s.fail
	e.Use(s.requestID, s.observe, s.recovered)
	return line{e}
}

// ServeHTTP has a request meet the routes, whatever its form.
func (l line) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.URL.Path, "/") { // http://host without a slash, OPTIONS *, CONNECT
		r.URL.Path = "/"
	}
	withBody(l.Echo, w, r)
}

// group is routes behind the same guards, the outermost first.
type group struct {
	echo   *echo.Echo
	prefix string
	guards []echo.MiddlewareFunc
}

func (l line) group(prefix string, guards ...echo.MiddlewareFunc) group {
	return group{l.Echo, prefix, guards}
}

// handle serves a path, whatever the method. RouteNotFound is Echo's only way
// to register every method, also those that it has never heard of; with any
// other, a method that a path lacks would go on to the catch-all, and so to the
// upstream. The guards wrap the handler once, here: Echo would wrap it again,
// and allocate, on each request.
func (g group) handle(path string, h echo.HandlerFunc) {
	for _, guard := range slices.Backward(g.guards) {
		h = guard(h)
	}
	g.echo.RouteNotFound(g.prefix+path, h)
}

// methods are what a path answers to. HEAD comes with GET, OPTIONS with any.
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
	return methodNotAllowed.because("%.32q is no method of this path; it takes %s.", method, strings.Join(allow, ", "))
}

func unknown(echo.Context) error { return echo.ErrNotFound }

// keyOf is the key in the path. Echo matches the path as it was escaped, where
// that differs from the usual escaping, and then hands out its parts like that.
func keyOf(c echo.Context) string {
	key := c.Param("key")
	if c.Request().URL.RawPath != "" {
		if plain, err := url.PathUnescape(key); err == nil {
			return plain
		}
	}
	return key
}

// maxMethod is the most of a request's method that is logged.
const maxMethod = 32

func methodOf(r *http.Request) string { return r.Method[:min(len(r.Method), maxMethod)] }

// maxPath is the most of a request's path that is repeated in answers and logs.
const maxPath = 256

// pathOf is the request's path, escaped, without its query.
func pathOf(r *http.Request) string {
	path := r.URL.EscapedPath()
	return path[:min(len(path), maxPath)]
}
