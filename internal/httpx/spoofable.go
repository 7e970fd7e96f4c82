package httpx

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
)

const (
	headerForwarded       = "Forwarded"
	headerXForwardedFor   = echo.HeaderXForwardedFor
	headerXForwardedHost  = "X-Forwarded-Host"
	headerXForwardedProto = echo.HeaderXForwardedProto
)

// The names of headers by which a proxy says who is asking, how, and for what;
// in lower case.
var (
	spoofableNames = []string{
		"forwarded", "client-ip", "x-real-ip", "x-originating-ip",
		"x-scheme", "x-url-scheme", "front-end-https",
	}
	spoofablePrefixes = []string{
		"x-forwarded", "x-original-", "x-rewrite-", "x-client-", "x-cluster-", "x-remote-", "x-envoy-",
	}
	spoofableSuffixes = []string{"-client-ip", "-connecting-ip", "-connecting-ipv6"}
)

// spoofable says whether an upstream may take a header of this name for the word
// of a proxy: from anybody else it is a lie. An underscore counts as a dash,
// because to CGI and whatever follows it the two are the same.
func spoofable(name string) bool {
	for _, s := range spoofableNames {
		if len(name) == len(s) && folds(name, s) {
			return true
		}
	}
	for _, s := range spoofablePrefixes {
		if len(name) >= len(s) && folds(name[:len(s)], s) {
			return true
		}
	}
	for _, s := range spoofableSuffixes {
		if len(name) >= len(s) && folds(name[len(name)-len(s):], s) {
			return true
		}
	}
	return false
}

// folds compares a name with another of the same length in lower case. It makes
// no copy, because it is asked of every header of every request.
func folds(name, lower string) bool {
	for i := range len(lower) {
		c := name[i]
		switch {
		case c == '_':
			c = '-'
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// forward makes out, the header of the request to the upstream, say what is known
// of the way here: what a trusted peer says of it, and the peer itself. All of
// that comes from the request as it came in, because the client's Connection may
// have had any header removed since.
func (p proxies) forward(out http.Header, in *http.Request) {
	for name := range out {
		if spoofable(name) {
			delete(out, name)
		}
	}
	if id := in.Header[echo.HeaderXRequestID]; id != nil {
		out[echo.HeaderXRequestID] = id
	}
	peer, proto := peerOf(in.RemoteAddr), "http"
	if in.TLS != nil {
		proto = "https"
	}
	var way []string // for X-Forwarded-For
	if p.contain(peer) {
		for name, values := range in.Header {
			if spoofable(name) && !strings.Contains(name, "_") { // no proxy sends those
				out[name] = values
			}
		}
		way = wayHere(in.Header)
		if in.Header[headerForwarded] != nil {
			out.Set(headerForwarded, appended(in, nodeOf(peer), proto))
		}
	}
	if peer.IsValid() {
		out.Set(headerXForwardedFor, strings.Join(append(way, peer.String()), ", "))
	}
	_, said := p.origin(in)
	if host := cmp.Or(said.host, in.Host); out[headerXForwardedHost] == nil && host != "" {
		out.Set(headerXForwardedHost, host)
	}
	if out[headerXForwardedProto] == nil {
		out.Set(headerXForwardedProto, cmp.Or(said.proto, proto))
	}
}

// wayHere is what X-Forwarded-For says, else what Forwarded does. A hop that does
// not say from whom it got the request keeps its place: without it, the one to
// its left would be taken for the client.
func wayHere(h http.Header) (way []string) {
	if lines := h[headerXForwardedFor]; lines != nil {
		for _, line := range lines {
			if line = strings.Trim(line, " \t"); line != "" {
				way = append(way, line)
			}
		}
		return way
	}
	for _, hop := range slices.Backward(forwardedHops(h)) {
		if hop.from.IsValid() {
			way = append(way, hop.from.String())
		} else {
			way = append(way, "unknown")
		}
	}
	return way
}

// appended is Forwarded with this hop at its end. What is malformed, and all to
// the left of it, is left out: it could make this hop unreadable, too.
func appended(in *http.Request, peer, proto string) string {
	var all []string
	for _, hop := range slices.Backward(forwardedHops(in.Header)) {
		all = append(all, hop.element)
	}
	ours := "for=" + quote(peer)
	if in.Host != "" {
		ours += ";host=" + quote(in.Host)
	}
	return strings.Join(append(all, ours+";proto="+proto), ", ")
}
