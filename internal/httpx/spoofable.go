package httpx

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/labstack/echo/v4"
)

const (
	headerForwarded       = "Forwarded"
	headerXForwardedFor   = echo.HeaderXForwardedFor
	headerXForwardedHost  = "X-Forwarded-Host"
	headerXForwardedProto = echo.HeaderXForwardedProto
)

// proxyWords occur, at the start of a word, in the names of headers in which proxies
// describe the client and its request. A dot means the end of a word.
var proxyWords = []string{
	"forwarded", "forwarder", "forward.", "original-", "rewrite-", "remote.", "x-client-", "x-cluster-", // the hops
	"ip.", "ipv4.", "ipv6.", "clientip", "client-ip", "client-addr", // the client's address
	"client-cert", "clientcert", "client-verify", "client-dn.", "ssl.", "tls.", "mtls.", // its certificate
	"client-principal", "authenticated.", "auth-request.", "webauth.", "oidc.", // its user
	"https.", "x-scheme.", "url-scheme.", "x-host.", "host-override.", // the scheme and host it asked for
	"azure.", "cloudfront.", "envoy.", "tailscale.", // prefixes that proxies use for all their headers
}

// spoofable reports whether an upstream may trust a header of this name as written by
// a proxy. If anybody else sent it, it could be forged. It allocates nothing, because
// it is called for every header of every request.
func spoofable(name string) bool {
	for i := range len(name) {
		if i > 0 && isAlphanumeric(name[i-1]) {
			continue
		}
		for _, words := range proxyWords {
			if lower(name[i]) == words[0] && folds(name[i:], words) {
				return true
			}
		}
	}
	return false
}

// folds reports whether a name begins with words, which are in lower case. Every
// character that is not a letter or digit counts as a dash, because CGI, and
// everything that follows its rules, does not distinguish them.
func folds(name, words string) bool {
	for i := range len(words) {
		wordEnds := i == len(name) || !isAlphanumeric(name[i])
		switch want := words[i]; {
		case want == '.':
			return wordEnds
		case i == len(name), wordEnds != (want == '-'):
			return false
		case !wordEnds && lower(name[i]) != want:
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// dropDoubles removes each header whose name CGI could not distinguish from another
// header's name with dashes, such as X_Request_ID if there is X-Request-ID.
func dropDoubles(h http.Header) {
	for name := range h {
		dashed := strings.Map(func(r rune) rune {
			if r < utf8.RuneSelf && isAlphanumeric(byte(r)) {
				return r
			}
			return '-'
		}, name)
		if dashed != name && h[http.CanonicalHeaderKey(dashed)] != nil {
			delete(h, name)
		}
	}
}

// forward sets, in the header of the request to the upstream, what is known about the
// request's origin: the headers of a trusted peer, and the peer's own address. It
// takes them from the incoming request, because the client's Connection header may
// have had any of them removed from out.
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
			if spoofable(name) {
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
	dropDoubles(out)
}

// wayHere returns the hops in X-Forwarded-For, or else those in Forwarded. A hop that
// names no address becomes "unknown". If it were left out, the hop to its left would
// be mistaken for the client.
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

// appended returns Forwarded with this hop at its end. A malformed element, and
// everything to its left, is left out, because it could make this hop unreadable, too.
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
