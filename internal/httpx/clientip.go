package httpx

import (
	"cmp"
	"iter"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// proxies are the peers that are trusted to say where a request came from.
type proxies []netip.Prefix

// trusts reports whether the peer with this address is trusted. The address is
// written as in [http.Request.RemoteAddr].
func (p proxies) trusts(remoteAddr string) bool { return p.contain(peerOf(remoteAddr)) }

func (p proxies) contain(a netip.Addr) bool {
	return slices.ContainsFunc(p, func(prefix netip.Prefix) bool { return prefix.Contains(a) })
}

// peerOf returns the address of the connection's other end; not valid if it has none.
func peerOf(remoteAddr string) netip.Addr {
	a, _ := parseNode(remoteAddr)
	return a
}

// clientIP returns [proxies.client] as text; "" if it is not known.
func (p proxies) clientIP(r *http.Request) string {
	if a := p.client(r); a.IsValid() {
		return a.String()
	}
	return ""
}

// client returns the address of the request's sender. That is the peer, unless
// the peer is trusted; then it is the nearest hop that is not trusted.
func (p proxies) client(r *http.Request) netip.Addr {
	client, _ := p.origin(r)
	return client
}

// origin returns the client, and what the trusted proxies say about its request.
// Each proxy appends, at the right, the address that it got the request from. So
// the list is read from the right, and only as far as the proxies are trusted:
// the client itself may have written the rest. Reading also stops at an element
// that names no address; then the last address before it is the client's.
func (p proxies) origin(r *http.Request) (client netip.Addr, said hop) {
	client = peerOf(r.RemoteAddr)
	if !p.contain(client) {
		return client, hop{}
	}
	for _, h := range hopsOf(r.Header) {
		said.host, said.proto = cmp.Or(h.host, said.host), cmp.Or(h.proto, said.proto)
		if !h.from.IsValid() {
			break
		}
		if client = h.from; !p.contain(client) {
			break
		}
	}
	return client, said
}

// hop is what one proxy says about the request that it received.
type hop struct {
	element     string     // as it was sent
	from        netip.Addr // not valid: the proxy does not say
	host, proto string     // "": the proxy does not say
}

// maxHops is how many elements are read, from the right. No chain of proxies is
// longer, but a client can send thousands.
const maxHops = 64

// hopsOf returns the hops that the header names, the nearest first, up to the
// first malformed element. Forwarded is read only if there is no X-Forwarded-For.
// A proxy that sets one of the two passes the other on as the client sent it, and
// most proxies set X-Forwarded-For.
func hopsOf(h http.Header) []hop {
	if lines := h[headerXForwardedFor]; lines != nil {
		return hops(elements(lines, commas), func(element string) (hop, bool) {
			from, ok := parseNode(element)
			return hop{element: element, from: from}, ok
		})
	}
	return forwardedHops(h)
}

func hops(elements []string, parse func(string) (hop, bool)) (all []hop) {
	for _, element := range slices.Backward(elements) {
		h, ok := parse(element)
		if !ok {
			break
		}
		all = append(all, h)
	}
	return all
}

func commas(line string) iter.Seq[string] { return strings.SplitSeq(line, ",") }

// elements returns the last elements of a list that may have several lines, in
// order, at most maxHops. Empty elements do not count (RFC 9110, 5.6.1).
func elements(lines []string, split func(line string) iter.Seq[string]) (last []string) {
	for _, line := range lines {
		for element := range split(line) {
			if element = strings.Trim(element, " \t"); element == "" {
				continue
			}
			if len(last) == 2*maxHops {
				last = append(last[:0], last[maxHops:]...)
			}
			last = append(last, element)
		}
	}
	return last[max(0, len(last)-maxHops):]
}

// parseNode reads an IP address as proxies write it: with or without a port,
// IPv6 with or without brackets, in quotes or not. A zone is dropped, because it
// has a meaning on one machine only. An IPv4 address mapped into IPv6 becomes IPv4.
func parseNode(s string) (netip.Addr, bool) {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
	}
	address, port, hasPort := s, "", false
	rest, bracketed := strings.CutPrefix(s, "[")
	switch {
	case bracketed:
		var after string
		address, after, _ = strings.Cut(rest, "]")
		if port, hasPort = strings.CutPrefix(after, ":"); !hasPort && len(address)+len("[]") != len(s) {
			return netip.Addr{}, false
		}
	case strings.Count(s, ":") == 1:
		address, port, hasPort = strings.Cut(s, ":")
	}
	a, err := netip.ParseAddr(address)
	if err != nil || bracketed && !a.Is6() || hasPort && !isPort(port) {
		return netip.Addr{}, false
	}
	return a.WithZone("").Unmap(), true
}

// isPort reports whether s is a port number, or an obfuscated port (RFC 7239, 6).
func isPort(s string) bool {
	if hidden, ok := strings.CutPrefix(s, "_"); ok {
		return isToken(hidden)
	}
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}
