package httpx

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
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
// https://shop.example; nil: none. Credentials, which a browser would add by
// itself, are never allowed; a token that the script holds may be sent.
type Origins []string

// ParseOrigins reads a comma-separated list of origins (RFC 6454, 6.2), or "*".
func ParseOrigins(s string) (Origins, error) {
	var all Origins
	for one := range strings.SplitSeq(s, ",") {
		one = strings.TrimSpace(one)
		u, err := url.Parse(one)
		whole := err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https") && u.Scheme+"://"+u.Host == one
		if !whole && one != AnyOrigin {
			return nil, fmt.Errorf("%q is not an origin such as https://shop.example or https://shop.example:8443, without a path, nor *", one)
		}
		all = append(all, one)
	}
	return all, nil
}

// AnyOrigin is in a list that stands for all origins.
const AnyOrigin = "*"

func (o Origins) any() bool { return slices.Contains(o, AnyOrigin) }

func (o Origins) allow(origin string) bool {
	return origin != "" && (o.any() || slices.ContainsFunc(o, func(one string) bool { return strings.EqualFold(one, origin) }))
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
