package httpx

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"platform-settings/settings"
)

// problemType is a kind of problem. Callers recognise it by its stable slug.
type problemType struct {
	status      int
	slug, title string
}

// statusCallerLeft comes from nginx. It is for the log and the metrics, because
// usually nobody is left to read the answer.
const statusCallerLeft = 499

// The problem types. A slug never changes its meaning.
var (
	malformedBody       = problemType{http.StatusBadRequest, "malformed-body", "The body is malformed"}
	unknownField        = problemType{http.StatusBadRequest, "unknown-field", "The body has an unknown field"}
	repeatedField       = problemType{http.StatusBadRequest, "repeated-field", "The body has a field twice"}
	badPreference       = problemType{http.StatusBadRequest, "bad-preference", "The preference cannot be used"}
	badPrecondition     = problemType{http.StatusBadRequest, "bad-precondition", "The precondition cannot be used"}
	tokenInURL          = problemType{http.StatusBadRequest, "token-in-url", "The address holds a token"}
	unauthorized        = problemType{http.StatusUnauthorized, "unauthorized", "A valid token is needed"}
	forbidden           = problemType{http.StatusForbidden, "forbidden", "The token's role is too low"}
	notFound            = problemType{http.StatusNotFound, "not-found", "There is nothing here"}
	noSuchSetting       = problemType{http.StatusNotFound, "no-such-setting", "There is no such setting"}
	adminDisabled       = problemType{http.StatusNotFound, "admin-disabled", "The admin API is off"}
	methodNotAllowed    = problemType{http.StatusMethodNotAllowed, "method-not-allowed", "The path does not allow this method"}
	bodyTimeout         = problemType{http.StatusRequestTimeout, "body-timeout", "The body arrived too slowly"}
	kindMismatch        = problemType{http.StatusConflict, "kind-mismatch", "The setting is of another kind"}
	preconditionFailed  = problemType{http.StatusPreconditionFailed, "precondition-failed", "The precondition does not hold"}
	bodyTooLarge        = problemType{http.StatusRequestEntityTooLarge, "body-too-large", "The body is too large"}
	unsupportedMedia    = problemType{http.StatusUnsupportedMediaType, "unsupported-media-type", "The body is not JSON"}
	invalidField        = problemType{http.StatusUnprocessableEntity, "invalid-field", "A field breaks a rule"}
	noSuchRevision      = problemType{http.StatusUnprocessableEntity, "no-such-revision", "There is no such revision yet"}
	tooManyWaits        = problemType{http.StatusTooManyRequests, "too-many-waits", "Too many requests are waiting"}
	callerLeft          = problemType{statusCallerLeft, "caller-left", "The caller went away"}
	internalError       = problemType{http.StatusInternalServerError, "internal", "An internal error occurred"}
	upstreamUnreachable = problemType{http.StatusBadGateway, "upstream-unreachable", "The platform did not answer"}
	underMaintenance    = problemType{http.StatusServiceUnavailable, "maintenance", "Under maintenance"}
	staleSettings       = problemType{http.StatusServiceUnavailable, "stale", "This pod may be out of date"}
	noSnapshot          = problemType{http.StatusServiceUnavailable, "no-snapshot", "The settings are not known yet"}
	settingLocked       = problemType{http.StatusServiceUnavailable, "setting-locked", "The setting is locked"}
	triggersOff         = problemType{http.StatusServiceUnavailable, "triggers-off", "The table's triggers are off"}
	databaseUnavailable = problemType{http.StatusServiceUnavailable, "database-unavailable", "The database is not available"}
	fleetUnknown        = problemType{http.StatusServiceUnavailable, "fleet-unknown", "The fleet's state is unknown"}
	outcomeUnknown      = problemType{http.StatusServiceUnavailable, "outcome-unknown", "The outcome is unknown"}
	notInForce          = problemType{http.StatusGatewayTimeout, "not-in-force", "Committed, but not confirmed in force"}
)

func (t problemType) urn() string { return "urn:platform-settings:problem:" + t.slug }

// because makes a problem of this type. The detail says what is wrong, and what to
// do about it.
func (t problemType) because(detail string, args ...any) *problem {
	return &problem{
		Type:   t.urn(),
		Title:  t.title,
		Status: t.status,
		Detail: fmt.Sprintf(detail, args...),
	}
}

// problem is an error in the form that callers get (RFC 9457).
type problem struct {
	Type     string `json:"type"`
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Detail   string `json:"detail"`
	Instance string `json:"instance"`

	// Details that help the caller to correct the request. Each type sets its own.
	Field           string             `json:"field,omitempty"`
	KnownFields     []string           `json:"known_fields,omitempty"`
	RequiredRole    string             `json:"required_role,omitempty"`
	Revision        settings.Revision  `json:"revision,omitempty"`
	CurrentRevision *settings.Revision `json:"current_revision,omitempty"` // 0: there is no such setting
	Until           *time.Time         `json:"until,omitempty"`
	RetryAfter      int64              `json:"retry_after,omitempty"` // seconds; the same as in the header Retry-After

	cause error // for the log only
}

func (p *problem) Error() string { return p.Detail }

func (p *problem) is(t problemType) bool { return p.Type == t.urn() }

func invalid(field, why string) error { return &settings.InvalidError{Field: field, Why: why} }

// problemOf is the only table from errors to problems. Specific errors come before
// general ones, because they may wrap them: ErrOutcomeUnknown wraps the driver's
// error.
func problemOf(err error) *problem {
	var (
		p           *problem
		unconfirmed *settings.NotInForceError
		wrong       *settings.InvalidError
		kind        *settings.KindError
		conflict    *settings.ConflictError
		missing     *settings.NoSuchRevisionError
	)
	switch {
	case errors.As(err, &p):
	case errors.As(err, &unconfirmed):
		p = notInForce.because("The change is committed as revision %d, but this pod could not confirm in time that it is in force here. Do not repeat the change; check /readyz, and read the setting again.", unconfirmed.Revision)
		p.Revision, p.cause = unconfirmed.Revision, err
	case errors.Is(err, settings.ErrOutcomeUnknown):
		p = outcomeUnknown.because("The connection to the database was lost during COMMIT: the change may or may not have been committed. Read it again, or repeat the request; making the same change twice is safe.")
		p.RetryAfter, p.cause = 1, err
	case errors.As(err, &wrong):
		p = invalidField.because("%q %s.", wrong.Field, wrong.Why)
		p.Field = wrong.Field
	case errors.As(err, &kind):
		p = kindMismatch.because("%q is of kind %s, not %s, and a setting's kind never changes. Send a value of its kind, or delete the setting first.", kind.Key, kind.Have, kind.Want)
	case errors.As(err, &conflict):
		p = preconditionFailed.because("%q is at revision %d, which does not satisfy If-Match or If-None-Match. Read it again, and decide whether you still want the change.", conflict.Key, conflict.Have)
		if conflict.Have == 0 {
			p.Detail = fmt.Sprintf("%q does not exist, but If-Match requires that it does. To create it, leave out If-Match.", conflict.Key)
		}
		p.CurrentRevision = &conflict.Have
	case errors.As(err, &missing):
		p = noSuchRevision.because("There is no revision %d yet: the last one is %d. Ask for a revision that a write has returned, or leave it out to ask for the last one.", missing.Want, missing.Head)
		p.CurrentRevision = &missing.Head
	case errors.Is(err, settings.ErrFleetUnknown):
		p = fleetUnknown.because("This pod cannot say which pods have the revision in force: the register of pods cannot be read, this pod cannot write to it, or the triggers are off. Try again; /readyz and the log say what is wrong.")
		p.RetryAfter, p.cause = 1, err
	case errors.Is(err, settings.ErrNotFound):
		p = noSuchSetting.because("No setting has this key. GET /api/v1/settings with a token lists them all.")
	case errors.Is(err, settings.ErrMayNotCreate):
		p = forbidden.because("The setting does not exist, and creating it requires the role %s. Check the key, or use a token of that role.", administrator)
		p.RequiredRole = administrator.String()
	case errors.Is(err, settings.ErrTriggersOff):
		p = triggersOff.because("The triggers of platform_settings are off. The change would have had no revision, and no pod would have been notified, so nothing was changed. Turn the triggers on: /readyz names them, and the operations manual says how. In an emergency plain SQL still works; every pod's poll finds the change within a TTL.")
		p.cause = err
	case errors.Is(err, settings.ErrLocked):
		p = settingLocked.because("Another transaction holds the setting's row or its table, so nothing was changed. Try again; to find who holds it: SELECT pid, usename, state, query, pg_blocking_pids(pid) FROM pg_stat_activity.")
		p.RetryAfter, p.cause = 1, err
	case errors.Is(err, settings.ErrUnavailable):
		p = databaseUnavailable.because("The database could not be reached, did not answer in time, or refused this pod, so nothing was changed. Try again; /readyz and the log say what is wrong.")
		p.RetryAfter, p.cause = 1, err
	case errors.Is(err, echo.ErrNotFound):
		p = notFound.because("There is nothing at this path. Check its spelling, and remove any trailing slash.")
	default:
		p = internalError.because("The fault is in this service. Give the operators the request ID from the header X-Request-ID; the log has the cause.")
		p.cause = err
	}
	return p
}

// fail answers with the problem that an error becomes. It is Echo's only error handler.
func (s *Server) fail(err error, c echo.Context) {
	if c.Response().Committed { // most likely the caller has gone
		s.log.Debug("an answer was cut short", zap.Error(err), logRequestID(c))
		return
	}
	p := problemOf(err)
	p.Instance = pathOf(c.Request())
	if p.CurrentRevision != nil {
		p.Detail = cmp.Or(weakHint(c.Request().Header, *p.CurrentRevision), p.Detail)
	}
	switch {
	case p.is(unauthorized) || p.is(forbidden):
		s.denied(c, p)
	case p.cause != nil:
		level := zapcore.WarnLevel
		if p.Status == http.StatusInternalServerError {
			level = zapcore.ErrorLevel
		}
		s.log.Log(level, "failed", zap.Int("status", p.Status), zap.Error(p.cause), logRequestID(c))
	}
	if p.RetryAfter > 0 {
		c.Response().Header().Set(echo.HeaderRetryAfter, strconv.FormatInt(p.RetryAfter, 10))
	}
	if err := sendJSON(c, p.Status, typeProblem, p); err != nil {
		s.log.Debug("an answer was cut short", zap.Error(err), logRequestID(c))
	}
}
