package httpx

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"platform-settings/settings"
)

// Echo has no constants for these.
const (
	headerETag        = "ETag"
	headerIfMatch     = "If-Match"
	headerIfNoneMatch = "If-None-Match"
)

func etag(r settings.Revision) string { return strconv.Quote(strconv.FormatInt(int64(r), 10)) }

// entityTag is an ETag as in RFC 9110, 8.8.3.
type entityTag struct {
	weak   bool
	opaque string
}

// parseTags reads the value of If-Match or If-None-Match: "*", or a list of tags. ok
// is false if it is neither.
func parseTags(value string) (tags []entityTag, star, ok bool) {
	if strings.TrimSpace(value) == "*" {
		return nil, true, true
	}
	for rest := strings.TrimLeft(value, " \t,"); rest != ""; rest = strings.TrimLeft(rest, " \t,") {
		var tag entityTag
		rest, tag.weak = strings.CutPrefix(rest, "W/")
		if rest, ok = strings.CutPrefix(rest, `"`); !ok {
			return nil, false, false
		}
		if tag.opaque, rest, ok = strings.Cut(rest, `"`); !ok {
			return nil, false, false
		}
		rest = strings.TrimLeft(rest, " \t")
		if rest != "" && rest[0] != ',' {
			return nil, false, false
		}
		tags = append(tags, tag)
	}
	return tags, false, tags != nil
}

// notModified reports whether the caller already has this revision. A malformed
// header is ignored.
func notModified(c echo.Context, r settings.Revision) bool {
	tags, star, _ := parseTags(joined(c.Request().Header, headerIfNoneMatch))
	for _, tag := range tags { // when reading, weak tags match too
		if strconv.Quote(tag.opaque) == etag(r) {
			return true
		}
	}
	return star
}

// conditionOf returns the condition that If-Match and If-None-Match set for a write.
// The error is a problem.
func conditionOf(h http.Header) (c settings.Condition, err error) {
	if h.Values(headerIfMatch) != nil {
		tags, star, ok := parseTags(joined(h, headerIfMatch))
		if !ok {
			return c, badPrecondition.because(`If-Match cannot be read. Send the ETag exactly as you received it, with its quotes, or *.`)
		}
		if star {
			c.Exists = true
		} else {
			c.Revisions = []settings.Revision{} // stays empty, and so never matches, if all tags are weak or not a revision
		}
		for _, tag := range tags {
			n, err := strconv.ParseInt(tag.opaque, 10, 64)
			if r := settings.Revision(n); err == nil && !tag.weak && etag(r) == `"`+tag.opaque+`"` {
				c.Revisions = append(c.Revisions, r)
			}
		}
	}
	if h.Values(headerIfNoneMatch) != nil {
		if _, c.Absent, _ = parseTags(joined(h, headerIfNoneMatch)); !c.Absent {
			return c, badPrecondition.because(`On a write, If-None-Match may only be *, which means: create, but do not change. To change a particular revision, send If-Match.`)
		}
	}
	return c, nil
}

// weakHint explains why weak tags in If-Match do not match a setting at this
// revision. It is "" if weak tags are not the reason for the refusal. A proxy makes
// our tags weak, so reading the setting again through it does not help.
func weakHint(h http.Header, current settings.Revision) string {
	tags, _, _ := parseTags(joined(h, headerIfMatch))
	isWeak := func(tag entityTag) bool { return tag.weak }
	strong := entityTag{opaque: strconv.FormatInt(int64(current), 10)}
	if current == 0 || !slices.ContainsFunc(tags, isWeak) || slices.Contains(tags, strong) {
		return ""
	}
	remedy := "Read the setting again and send its tag without W/"
	if slices.Contains(tags, entityTag{weak: true, opaque: strong.opaque}) {
		remedy = "Send " + etag(current)
	}
	return "If-Match has a weak tag, W/…, and weak tags never match (RFC 9110, 13.1.1). Our tags are strong; a proxy that compresses answers, as nginx's gzip does, makes them weak. " +
		remedy + ", or turn compression off for /api/."
}

func joined(h http.Header, name string) string { return strings.Join(h.Values(name), ",") }
