package httpx

import (
	"cmp"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"platform-settings/internal/wire"
	"platform-settings/settings"
)

// maxWindow limits "for", so that a typing error does not close the gate for decades.
const maxWindow = 365 * 24 * time.Hour

func maintenanceOf(m *settings.Maintenance, now time.Time) *wire.Maintenance {
	return &wire.Maintenance{
		Active: m.Active(now), Enabled: m.Enabled, ReadOnly: m.ReadOnly, Message: m.Message,
		RetryAfter: int64(cmp.Or(m.RetryAfter, settings.DefaultRetryAfter) / time.Second),
		StartsAt:   orNull(m.StartsAt), EndsAt: orNull(m.EndsAt),
		Since: orNull(m.Since(now)), Until: orNull(m.Until(now)),
	}
}

// maintenance answers with the public status. It has no ETag, because time alone can
// change it.
func (s *Server) maintenance(c echo.Context) error {
	noStore(c)
	body, err := s.status.at(time.Now(), s.engine.Maintenance)
	if err != nil {
		return err
	}
	return send(c, http.StatusOK, typeJSON, body)
}

func (s *Server) adminMaintenance(c echo.Context) error {
	snapshot := s.engine.Current()
	return sendJSON(c, http.StatusOK, typeJSON, struct {
		*wire.Maintenance
		Revision settings.Revision `json:"revision"`
	}{maintenanceOf(snapshot.Maintenance(), time.Now()), snapshot.Revision()})
}

// putMaintenance replaces the maintenance settings. A field that is left out is cleared.
func (s *Server) putMaintenance(c echo.Context) error {
	if h := c.Request().Header; h.Values(headerIfMatch) != nil || h.Values(headerIfNoneMatch) != nil {
		return badPrecondition.because("Maintenance is several settings and has no ETag. Leave out If-Match and If-None-Match, or change a single setting under /api/v1/admin/settings/.")
	}
	wanted, reason, err := readMaintenance(c)
	if err != nil {
		return err
	}
	revision, set, err := s.engine.SetMaintenance(c.Request().Context(), authorOf(c, reason), wanted)
	if err != nil {
		return err
	}
	var note string
	if set.Enabled && !set.StartsAt.IsZero() {
		note = "The switch is on, and stays on after the window until somebody turns it off. To set only the window, leave out enabled."
	}
	return s.answerWrite(c, http.StatusOK, revision, wire.Written{Maintenance: maintenanceOf(set, time.Now()), Note: note})
}

func readMaintenance(c echo.Context) (m settings.Maintenance, reason *string, err error) {
	var (
		enabled, readOnly *bool
		message, length   *string
		retryAfter        *int64
		startsAt, endsAt  *time.Time
	)
	err = readBody(c,
		field{"enabled", &enabled}, field{"read_only", &readOnly}, field{"message", &message},
		field{"retry_after", &retryAfter}, field{"starts_at", &startsAt}, field{"ends_at", &endsAt},
		field{"for", &length}, field{"reason", &reason})
	if err != nil {
		return m, nil, err
	}
	if length != nil {
		if startsAt != nil || endsAt != nil {
			return m, nil, invalid("for", "is a window that starts now, so it cannot be combined with starts_at or ends_at")
		}
		window, err := time.ParseDuration(*length)
		if err != nil || window <= 0 || window > maxWindow {
			return m, nil, invalid("for", fmt.Sprintf(`must be a duration such as "30m" or "1h30m", at most %.0fh`, maxWindow.Hours()))
		}
		now := time.Now()
		startsAt, endsAt = &now, new(now.Add(window))
	}
	if enabled == nil && startsAt == nil && endsAt == nil {
		return m, nil, invalid("enabled", "is required, true or false, unless there is a window: starts_at, ends_at or for")
	}
	if retryAfter != nil && (*retryAfter < 1 || *retryAfter > int64(settings.MaxRetryAfter/time.Second)) {
		return m, nil, invalid("retry_after", fmt.Sprintf("must be 1 to %.0f, in seconds", settings.MaxRetryAfter.Seconds()))
	}
	return settings.Maintenance{
		Enabled: orZero(enabled), ReadOnly: orZero(readOnly), Message: orZero(message),
		RetryAfter: time.Duration(orZero(retryAfter)) * time.Second,
		StartsAt:   orZero(startsAt), EndsAt: orZero(endsAt),
	}, reason, nil
}

// orZero returns a field's value, or the zero value if the field was left out.
func orZero[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
