package httpx

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The headers of the Fetch standard's CORS protocol, whose names net/http lacks.
const (
	headerOrigin         = "Origin"
	headerAllowOrigin    = "Access-Control-Allow-Origin"
	headerRequestMethod  = "Access-Control-Request-Method"
	headerRequestHeaders = "Access-Control-Request-Headers"
)

// exposedHeaders are those of our answers that a script on another origin may
// read, besides the ones that any may.
var exposedHeaders = strings.Join([]string{"ETag", "Retry-After", "X-Request-Id", "WWW-Authenticate"}, ", ")

// Origins are the other origins whose scripts may read our own answers, such as
// https://shop.example, as browsers send them; nil: none. Credentials, which a
// browser would add by itself, are never allowed; a token that the script holds
// may be sent.
type Origins []string

// ParseOrigins reads a comma-separated list of origins, or "*" by itself. It
// refuses whatever no browser sends: it could never match. The error names the
// first such element, and what to write instead.
func ParseOrigins(s string) (Origins, error) {
	var all Origins
	for one := range strings.SplitSeq(s, ",") {
		all = append(all, strings.TrimSpace(one))
	}
	if len(all) == 1 && all.any() {
		return all, nil
	}
	for _, one := range all {
		if err := checkOrigin(one); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func checkOrigin(s string) error {
	switch u, err := url.Parse(s); {
	case s == "":
		return errors.New("has an element that is empty, which is not an origin: take out the comma beside it")
	case strings.Contains(s, "*"):
		return fmt.Errorf("%q is not an origin: name each origin in full, or write * and nothing else for any", s)
	case err == nil && u.User != nil:
		return errors.New("has an element with a user or a password, which is not an origin: leave them out")
	case err == nil && strings.ContainsFunc(u.Host, func(r rune) bool { return r >= utf8.RuneSelf }):
		return fmt.Errorf("%q is not an origin as browsers send it: write its host in punycode, such as xn--bcher-kva.example for bücher.example", s)
	default:
		if sent, ok := originOf(u); !ok {
			return fmt.Errorf("%q is not an origin such as https://shop.example or https://shop.example:8443, nor *", s)
		} else if s != sent {
			return fmt.Errorf("%q is not an origin as browsers send it: write %s", s, sent)
		}
	}
	return nil
}

// originOf is a URL's origin as browsers send it (RFC 6454, 6.2); ok is false if
// it has none. u may be nil.
func originOf(u *url.URL) (origin string, ok bool) {
	if u == nil || u.Scheme != "http" && u.Scheme != "https" {
		return "", false
	}
	host := strings.ToLower(u.Hostname())
	a, err := netip.ParseAddr(host)
	switch {
	case err != nil && !(hostname.MatchString(host) && !numeric.MatchString(host)) || a.Zone() != "":
		return "", false
	case a.Is4In6(): // browsers know no dots here
		b := a.As16()
		host = fmt.Sprintf("[::ffff:%x:%x]", uint16(b[12])<<8|uint16(b[13]), uint16(b[14])<<8|uint16(b[15]))
	case a.Is6():
		host = "[" + a.String() + "]"
	}
	origin = u.Scheme + "://" + host
	if u.Port() == "" {
		return origin, true
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if isDefault := u.Scheme == "http" && port == 80 || u.Scheme == "https" && port == 443; !isDefault {
		origin += ":" + strconv.FormatUint(port, 10)
	}
	return origin, err == nil && port > 0
}

var (
	hostname = regexp.MustCompile(`^[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?$`)
	numeric  = regexp.MustCompile(`(^|\.)([0-9]+|0x[0-9a-f]*)\.?$`) // browsers take such a host for an IPv4 address, and write it in full
)

// AnyOrigin is the one element of a list that stands for all origins.
const AnyOrigin = "*"

func (o Origins) any() bool { return slices.Contains(o, AnyOrigin) }

func (o Origins) allow(origin string) bool {
	return origin != "" && (o.any() || slices.Contains(o, origin))
}

// share lets scripts of the origins read an answer of ours.
func (o Origins) share(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	switch origin := r.Header.Get(headerOrigin); {
	case len(o) == 0:
		return
	case o.any():
		h.Set(headerAllowOrigin, AnyOrigin)
	default:
		h.Add("Vary", headerOrigin) // also without one: a cache may have been asked by another
		if !o.allow(origin) {
			return
		}
		h.Set(headerAllowOrigin, origin)
	}
	h.Set("Access-Control-Expose-Headers", exposedHeaders)
}

// preflight says whether a browser asks, for a script of one of the origins,
// whether it may send a request.
func (o Origins) preflight(r *http.Request) bool {
	return len(o) > 0 && r.Method == http.MethodOptions && r.Header[headerRequestMethod] != nil && o.allow(r.Header.Get(headerOrigin))
}

// answerPreflight lets the request be sent. The permission is not kept where the
// next one may reach the platform, which has a say of its own then: maxAge is how
// long it is, in seconds.
func (o Origins) answerPreflight(w http.ResponseWriter, r *http.Request, maxAge string) {
	o.permit(w, r, maxAge)
	w.WriteHeader(http.StatusNoContent)
}

// permit sets the header of that answer.
func (o Origins) permit(w http.ResponseWriter, r *http.Request, maxAge string) {
	o.share(w, r)
	h := w.Header()
	h.Add("Vary", headerRequestMethod)
	h.Add("Vary", headerRequestHeaders)
	h.Set("Access-Control-Allow-Methods", r.Header.Get(headerRequestMethod))
	if names := r.Header.Values(headerRequestHeaders); len(names) > 0 {
		h.Set("Access-Control-Allow-Headers", strings.Join(names, ", "))
	}
	h.Set("Access-Control-Max-Age", maxAge)
}
