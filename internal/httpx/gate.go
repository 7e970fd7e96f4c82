package httpx

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"platform-settings/settings"
)

// gate turns requests away while maintenance is on, or while this pod cannot
// know whether it is. It knows net/http only; Echo stands around it.
type gate struct {
	keeper     *settings.Keeper
	origins    Origins
	rejections prometheus.Counter
	last       atomic.Pointer[refusal] // the newest; callers share it
}

// check returns what the caller of a request is told instead of being let in;
// nil: the request may pass. reads says whether it only reads, and is asked in
// read-only mode alone: an open gate looks at nothing of the request.
func (g *gate) check(r *http.Request, reads func(*http.Request) bool) *refusal {
	m, stale := g.keeper.Maintenance(), g.keeper.Stale()
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
		!upgrades(r.Header) && !overridesMethod(r.Header, "")
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

// upgrades says whether a request offers to change the protocol, to whatever: a
// proxy that asks may pass on what [narrowUpgrade] takes out.
func upgrades(h http.Header) bool {
	return h["Upgrade"] != nil || opensWebsocket(h)
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
		if len(name) >= len("_method") && queryNamesOverride(name) {
			if writes(queryText(value)) {
				return true
			}
		}
		query = strings.TrimLeft(query[end:], "&;")
	}
	return false
}

// queryNamesOverride says whether a framework may take a query parameter of this
// name, still encoded, for the request's method: _method and its kin, and the
// names of the headers. PHP drops spaces before a name, cuts it at a NUL, ends it
// at a bracket, and takes dots and spaces for underscores.
func queryNamesOverride(name string) bool {
	name = strings.TrimLeft(queryText(name), " \t\n\v\f\r")
	if end := strings.IndexByte(name, 0); end >= 0 {
		name = name[:end]
	}
	bare := strings.TrimLeft(name, "_.$-[] ")
	marked := len(bare) < len(name) // a plain "method" is harmless, and common
	if end := strings.IndexAny(bare, "[]"); end >= 0 {
		bare = bare[:end]
	}
	return marked && strings.EqualFold(bare, "method") || namesOverride(bare)
}

// queryText decodes a part of a query, and leaves what is malformed as it is: so do
// frameworks.
func queryText(s string) string {
	return string(percentDecoded([]byte(strings.ReplaceAll(s, "+", " "))))
}

// namesOverride says whether a name is that of a method override, such as
// X-HTTP-Method-Override or _HttpMethod: it holds "method" beside "http" or
// "override", and whatever else between its words.
func namesOverride(name string) bool {
	var folded [64]byte
	if len(name) < len("httpverb") {
		return false
	}
	n := 0
	for i := 0; i < len(name) && n < len(folded); i++ {
		switch c := name[i]; {
		case 'A' <= c && c <= 'Z':
			folded[n] = c + 'a' - 'A'
			n++
		case 'a' <= c && c <= 'z':
			folded[n] = c
			n++
		}
	}
	plain := folded[:n]
	holds := func(word string) bool { return bytes.Contains(plain, []byte(word)) }
	switch {
	case bytes.HasSuffix(plain, []byte("methods")): // a list of them
		return false
	case holds("method"):
		return holds("http") || holds("override") || holds("xrest")
	}
	return holds("verboverride") || bytes.HasSuffix(plain, []byte("httpverb"))
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
