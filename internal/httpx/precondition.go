package httpx

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"platform-settings/settings"
)

// Echo has no names for these.
const (
	headerETag        = "ETag"
	headerIfMatch     = "If-Match"
	headerIfNoneMatch = "If-None-Match"
)

func etag(r settings.Revision) string { return strconv.Quote(strconv.FormatInt(int64(r), 10)) }

// entityTag is one of a list (RFC 9110, 8.8.3).
type entityTag struct {
	weak   bool
	opaque string
}

// parseTags reads the value of If-Match or If-None-Match: "*", or a list. ok is
// false where it is neither.
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

// notModified says whether the caller has this revision already. A header that
// cannot be read asks for nothing.
func notModified(c echo.Context, r settings.Revision) bool {
	tags, star, _ := parseTags(joined(c.Request().Header, headerIfNoneMatch))
	for _, tag := range tags { // weak tags compare too, for reading
		if strconv.Quote(tag.opaque) == etag(r) {
			return true
		}
	}
	return star
}

// conditionOf is what a write demands with If-Match and If-None-Match.
func conditionOf(h http.Header) (c settings.Condition, err error) {
	if h.Values(headerIfMatch) != nil {
		tags, star, ok := parseTags(joined(h, headerIfMatch))
		if !ok {
			return c, badPrecondition.because(`If-Match cannot be read. Send the ETag as it came, with its quotes, or *.`)
		}
		if star {
			c.Exists = true
		} else {
			c.Revisions = []settings.Revision{} // none matches, if all are weak or no revision
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
			return c, badPrecondition.because(`On a write, If-None-Match takes only *, which means: create, and do not change. To change a certain revision, send If-Match.`)
		}
	}
	return c, nil
}

// weakHint says why weak tags in If-Match are no good for a setting that is at
// this revision; "" if they are not why the write was refused. A proxy has made
// them of ours, and reading again brings the like.
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
