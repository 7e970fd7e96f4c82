package httpx

import (
	"bytes"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"platform-settings/internal/settings"
)

// gate turns requests away while maintenance is on, or while this pod cannot
// know whether it is. It knows net/http only; Echo stands around it.
type gate struct {
	engine     *settings.Engine
	origins    Origins
	rejections prometheus.Counter
	last       atomic.Pointer[refusal] // the newest; callers share it
}

// check returns what the caller of a request is told instead of being let in;
// nil: the request may pass. reads says whether it only reads, and is asked in
// read-only mode alone: an open gate looks at nothing of the request.
func (g *gate) check(r *http.Request, reads func(*http.Request) bool) *refusal {
	m, stale := g.engine.Maintenance(), g.engine.Stale()
	if !stale && (!m.ActiveNow() || m.ReadOnly && reads(r) && !g.announcesWrite(r)) {
		return nil
	}
	g.rejections.Inc()
	return g.refusal(m, stale)
}

// announcesWrite says whether a browser asks on behalf of a script on another
// origin whether it may write. The answer has to be the gate's own: the platform
// would speak for a request that the gate then refuses.
func (g *gate) announcesWrite(r *http.Request) bool {
	return g.origins.preflight(r) && !readingMethod(r.Header.Get(headerRequestMethod))
}

// refusal is the one that fits now, made anew only if none does yet.
func (g *gate) refusal(m *settings.Maintenance, stale bool) *refusal {
	now := time.Now()
	why := reason{maintenance: m, inWindow: m.InWindow(now), stale: stale && !m.Active(now)}
	if f := g.last.Load(); f != nil && f.reason == why {
		return f
	}
	f := newRefusal(why, now)
	g.last.Store(f)
	return f
}

// reads says whether a request only reads. The handshake of a websocket does not:
// what is sent through the socket later passes no gate.
func reads(r *http.Request) bool {
	return readingMethod(r.Method) && !opensWebsocket(r.Header) && !overridesMethod(r.Header, r.URL.RawQuery)
}

// askedReads says the same of the request that a proxy asks about. Its method
// counts as writing if no header names it: the proxy's own says nothing.
func askedReads(r *http.Request) bool {
	named := askedMethods(r.Header)
	return len(named) > 0 && askedOnlyReads(r, named)
}

// askedKeepingMethod is askedReads for a proxy that asks with the method of the
// request itself, and appends its path to the one that it is told to ask at.
func askedKeepingMethod(r *http.Request) bool {
	named := askedMethods(r.Header)
	if len(named) == 0 {
		named = []string{r.Method}
	}
	return askedOnlyReads(r, named)
}

func askedOnlyReads(r *http.Request, methods []string) bool {
	for _, name := range []string{"X-Forwarded-Uri", "X-Original-Uri", "X-Original-Url"} {
		for _, uri := range r.Header.Values(name) {
			if _, query, _ := strings.Cut(uri, "?"); overridesMethod(nil, query) {
				return false
			}
		}
	}
	return !slices.ContainsFunc(methods, func(m string) bool { return !readingMethod(m) }) &&
		!opensWebsocket(r.Header) && !overridesMethod(r.Header, "")
}

// askedMethods are the methods that a proxy says it asks about. A client can send
// the header that its proxy does not set, so all of them count.
func askedMethods(h http.Header) []string {
	return append(slices.Clone(h.Values("X-Forwarded-Method")), h.Values("X-Original-Method")...)
}

func readingMethod(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// opensWebsocket says whether a request is a websocket's handshake (RFC 6455,
// 4.1), or what a proxy that asks left of one.
func opensWebsocket(h http.Header) bool {
	return hasToken(h["Upgrade"], "websocket") || h["Sec-Websocket-Key"] != nil
}

// overridesMethod says whether a header or a query parameter asks the platform's
// framework to take the request for one of another method that does not only
// read.
func overridesMethod(h http.Header, query string) bool {
	writes := func(method string) bool { return !readingMethod(strings.ToUpper(strings.TrimSpace(method))) }
	for name, values := range h {
		if namesOverride(name) && slices.ContainsFunc(values, writes) {
			return true
		}
	}
	for query != "" {
		end := strings.IndexAny(query, "&;")
		if end < 0 {
			end = len(query)
		}
		name, value, _ := strings.Cut(query[:end], "=")
		if len(name) >= len("_method") {
			if name, err := url.QueryUnescape(name); err == nil && strings.EqualFold(name, "_method") && writes(value) {
				return true
			}
		}
		query = strings.TrimLeft(query[end:], "&;")
	}
	return false
}

// namesOverride knows X-HTTP-Method-Override and its kin, however they are
// spelled: frameworks take an underscore for a dash.
func namesOverride(name string) bool {
	var folded [32]byte
	if len(name) < len("http-method") || len(name) > len(folded) {
		return false
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case c == '_':
			c = '-'
		}
		folded[i] = c
	}
	plain := folded[:len(name)]
	return bytes.Contains(plain, []byte("method-override")) || bytes.HasSuffix(plain, []byte("http-method"))
}

// hasToken says whether a header that is a list holds a token, in any case.
func hasToken(values []string, token string) bool {
	for _, value := range values {
		for one := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(one), token) {
				return true
			}
		}
	}
	return false
}
