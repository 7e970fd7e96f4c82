package httpx

import (
	"iter"
	"net/http"
	"net/netip"
	"strings"
)

// forwardedHops returns the hops that the header Forwarded names (RFC 7239), like
// [hopsOf]. Each line is read by itself: a quote that a client left open must not
// swallow the line that a proxy has added.
func forwardedHops(h http.Header) []hop {
	quoted := func(line string) iter.Seq[string] { return splitQuoted(line, ',') }
	return hops(elements(h[headerForwarded], quoted), parseForwarded)
}

// parseForwarded reads one element of Forwarded: for=…;host=…;proto=…;by=… in
// any order. ok is false if the element does not follow the grammar, with one
// exception: many proxies send values with a colon or brackets without quotes.
func parseForwarded(element string) (h hop, ok bool) {
	h.element = element
	seen := map[string]bool{}
	for pair := range splitQuoted(element, ';') {
		if pair = strings.Trim(pair, " \t"); pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		if value, ok = unquote(value); !ok || !isToken(name) {
			return hop{}, false
		}
		name = strings.ToLower(name)
		if seen[name] { // proxies disagree on which of them counts
			return hop{}, false
		}
		seen[name] = true
		switch name {
		case "for":
			h.from, ok = parseNode(value)
			if !ok && !strings.EqualFold(value, "unknown") && !isObfuscated(value) {
				return hop{}, false
			}
		case "host":
			h.host = value
		case "proto":
			if value = strings.ToLower(value); value == "http" || value == "https" {
				h.proto = value
			}
		}
	}
	return h, true
}

// isObfuscated reports whether a proxy replaced the node's address by an identifier
// of its own (RFC 7239, 6.3), with or without a port.
func isObfuscated(node string) bool {
	name, port, hasPort := strings.Cut(node, ":")
	name, ok := strings.CutPrefix(name, "_")
	return ok && isToken(name) && (!hasPort || isPort(port))
}

// unquote reads a value, which is a token or a quoted string.
func unquote(s string) (value string, ok bool) {
	rest, quoted := strings.CutPrefix(s, `"`)
	if !quoted {
		return s, isTokenOr(s, ":[]")
	}
	var b strings.Builder
	for i := 0; i < len(rest); i++ {
		switch rest[i] {
		case '"':
			return b.String(), i == len(rest)-1
		case '\\':
			if i++; i == len(rest) {
				return "", false
			}
		}
		b.WriteByte(rest[i])
	}
	return "", false
}

// quote writes a value: as a token if possible, else as a quoted string.
func quote(value string) string {
	if isToken(value) {
		return value
	}
	return `"` + quoteEscaper.Replace(value) + `"`
}

var quoteEscaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// isToken reports whether s is a token (RFC 9110, 5.6.2).
func isToken(s string) bool { return isTokenOr(s, "") }

// isTokenOr does the same, but allows some other characters too.
func isTokenOr(s, others string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' ||
			strings.ContainsRune("!#$%&'*+-.^_`|~", r) || strings.ContainsRune(others, r))
	})
}

// nodeOf writes an address in the form that Forwarded uses.
func nodeOf(a netip.Addr) string {
	switch {
	case !a.IsValid():
		return "unknown"
	case a.Is6():
		return "[" + a.String() + "]"
	}
	return a.String()
}
