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

// proxyWords are what a name has in it, from the start of a word on, if a proxy
// says by it who is asking, how, and for what. A dot is the end of a word.
var proxyWords = []string{
	"forwarded", "forwarder", "forward.", "original-", "rewrite-", "remote.", "x-client-", "x-cluster-", // the way here
	"ip.", "ipv4.", "ipv6.", "clientip", "client-ip", "client-addr", // the client's address
	"client-cert", "clientcert", "client-verify", "client-dn.", "ssl.", "tls.", "mtls.", // its certificate
	"client-principal", "authenticated.", "auth-request.", "webauth.", "oidc.", // its user
	"https.", "x-scheme.", "url-scheme.", "x-host.", "host-override.", // what it asked for
	"azure.", "cloudfront.", "envoy.", "tailscale.", // proxies that put their own name before what they say
}

// spoofable says whether an upstream may take a header of this name for the word
// of a proxy: from anybody else it is a lie. It makes no copy, because it is asked
// of every header of every request.
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

// folds says whether a name begins with words, which are in lower case. What is
// neither letter nor digit counts as a dash, because to CGI, and to whatever
// follows its rules, all of these are the same.
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

// dropDoubles takes out each header that CGI could not tell from another one
// whose name has dashes only, such as X_Request_ID beside X-Request-ID.
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
