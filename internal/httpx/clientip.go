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

// proxies are the peers that are believed when they say who is asking.
type proxies []netip.Prefix

// trusts says whether the peer with this address, as in
// [http.Request.RemoteAddr], is believed.
func (p proxies) trusts(remoteAddr string) bool { return p.contain(peerOf(remoteAddr)) }

func (p proxies) contain(a netip.Addr) bool {
	return slices.ContainsFunc(p, func(prefix netip.Prefix) bool { return prefix.Contains(a) })
}

// peerOf is the address of the connection's other end; not valid if it has none.
func peerOf(remoteAddr string) netip.Addr {
	a, _ := parseNode(remoteAddr)
	return a
}

// clientIP is [proxies.client] as text, "" if it is not known.
func (p proxies) clientIP(r *http.Request) string {
	if a := p.client(r); a.IsValid() {
		return a.String()
	}
	return ""
}

// client is the address of whoever sent the request: the peer's, unless the peer
// is trusted, and then the last one on the way here that is not.
func (p proxies) client(r *http.Request) netip.Addr {
	client, _ := p.origin(r)
	return client
}

// origin is the client, and what the trusted proxies say of its request. Each
// proxy writes down, to the right of what it was sent, from whom it got the
// request. So what counts is read from the right, and only as far as the proxies
// are trusted: all that is further left may come from the client itself. An
// element that names no address ends it, too: then the last good address counts.
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

// hop is what one proxy says of the request that it got.
type hop struct {
	element     string     // as it was sent
	from        netip.Addr // not valid: the proxy does not say
	host, proto string     // "": the proxy does not say
}

// maxHops is how many elements count, from the right: no chain of proxies is
// longer, and a client can send thousands.
const maxHops = 64

// hopsOf is the way here as the header tells it, the nearest hop first, up to the
// first element that is malformed. Forwarded counts only without
// X-Forwarded-For: a proxy that sets one of them passes on what the client sent
// of the other, and X-Forwarded-For is the one that most proxies set.
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

// elements are the last ones of a list in one or more lines, in their order, at
// most maxHops. Empty ones do not count (RFC 9110, 5.6.1).
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
// IPv6 with or without brackets, all of it in quotes or not. A zone is left out:
// it means something on one machine only. IPv4 inside IPv6 is IPv4.
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

// isPort says whether it is a port's number, or a word that hides it (RFC 7239, 6).
func isPort(s string) bool {
	if hidden, ok := strings.CutPrefix(s, "_"); ok {
		return isToken(hidden)
	}
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}
