package httpx

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
)

const (
	headerPrefer            = "Prefer"
	headerPreferenceApplied = "Preference-Applied"

	// maxWait is the longest wait; a longer one in Prefer is shortened to it.
	maxWait = 60 * time.Second
)

// waitOf reads wait=SECONDS in Prefer (RFC 7240, 4.3), and returns at most maxWait;
// asked is false if there is none. Other preferences are ignored, as the RFC
// demands. A malformed wait is an error, because the caller would believe that the
// answer had waited.
func waitOf(h http.Header) (wait time.Duration, asked bool, err error) {
	for preference := range splitQuoted(joined(h, headerPrefer), ',') {
		preference, _, _ = strings.Cut(preference, ";") // its parameters
		name, value, _ := strings.Cut(preference, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "wait") {
			continue
		}
		value = strings.Trim(strings.TrimSpace(value), `"`)
		seconds, err := strconv.ParseUint(value, 10, 32)
		if err != nil {
			return 0, false, badPreference.because("Prefer: wait takes a number of seconds, as in wait=5; %.32q is not one. Nothing was changed.", value)
		}
		return min(time.Duration(seconds)*time.Second, maxWait), true, nil // the first one counts
	}
	return 0, false, nil
}

const waitKey = "wait"

// preference reads Prefer before the handler runs, so that a malformed one is refused
// before anything is changed.
func preference(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		wait, asked, err := waitOf(c.Request().Header)
		if err != nil {
			return err
		}
		if asked {
			c.Set(waitKey, wait)
		}
		return next(c)
	}
}

// splitQuoted splits s at separators that are not inside quotes.
func splitQuoted(s string, separator byte) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		quoted, from := false, 0
		for i := 0; i < len(s); i++ {
			switch {
			case s[i] == '"':
				quoted = !quoted
			case quoted && s[i] == '\\':
				i++
			case !quoted && s[i] == separator:
				if !yield(s[from:i]) {
					return
				}
				from = i + 1
			}
		}
		yield(s[from:])
	}
}
