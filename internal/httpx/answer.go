package httpx

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/labstack/echo/v4"
)

const (
	typeJSON    = "application/json"
	typeProblem = "application/problem+json"
	typeHTML    = "text/html; charset=utf-8"
	typeText    = "text/plain; charset=utf-8"
)

// send is how every answer of our own goes out; the upstream's do not come by.
func send(c echo.Context, status int, contentType string, body []byte) error {
	noSniff(c)
	sendPieces(c.Response(), status, contentType, body)
	return nil
}

func sendJSON(c echo.Context, status int, contentType string, v any) error {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	return send(c, status, contentType, body.Bytes())
}

// orNull is null in JSON for the zero time.
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
