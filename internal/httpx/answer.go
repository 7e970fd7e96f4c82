package httpx

import (
	"time"

	"github.com/labstack/echo/v4"
)

const (
	typeJSON    = "application/json"
	typeProblem = "application/problem+json"
	typeHTML    = "text/html; charset=utf-8"
	typeText    = "text/plain; charset=utf-8"
)

// send sends an answer of our own. The upstream's answers do not pass through it.
func send(c echo.Context, status int, contentType string, pieces ...[]byte) error {
	noSniff(c)
	sendPieces(c.Response(), status, contentType, pieces...)
	return nil
}

func sendJSON(c echo.Context, status int, contentType string, v any) error {
	body, err := encodeJSON(nil, v)
	if err != nil {
		return err
	}
	return send(c, status, contentType, body)
}

// orNull returns the time in UTC, or nil (null in JSON) for the zero time.
func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func noSniff(c echo.Context) {
	c.Response().Header().Set(echo.HeaderXContentTypeOptions, "nosniff")
}

func noStore(c echo.Context) { c.Response().Header().Set(echo.HeaderCacheControl, "no-store") }
