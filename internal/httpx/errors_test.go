package httpx

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/labstack/echo/v4"

	"platform-settings/settings"
)

// The engine's errors, wrapped in the way in which the engine wraps them.
func TestErrorsBecomeProblems(t *testing.T) {
	s := serveOn(t, newEngine(t), nil)
	driver := errors.New("driver: secret detail")
	for _, test := range []struct {
		err     error
		status  int
		slug    string
		members map[string]any
		logged  string // the log level; "": not logged
	}{
		{&settings.InvalidError{Field: "value", Why: "must be true or false"}, 422, "invalid-field", map[string]any{"field": "value"}, ""},
		{&settings.KindError{Key: "k", Have: settings.KindBool, Want: settings.KindInt}, 409, "kind-mismatch", nil, ""},
		{&settings.ConflictError{Key: "k", Have: 7}, 412, "precondition-failed", map[string]any{"current_revision": 7.0}, ""},
		{&settings.ConflictError{Key: "k"}, 412, "precondition-failed", map[string]any{"current_revision": 0.0}, ""},
		{&settings.NoSuchRevisionError{Want: 9, Head: 7}, 422, "no-such-revision", map[string]any{"current_revision": 7.0}, ""},
		{fmt.Errorf("%w: %w", settings.ErrFleetUnknown, driver), 503, "fleet-unknown", map[string]any{"retry_after": 1.0}, "warn"},
		{settings.ErrNotFound, 404, "no-such-setting", nil, ""},
		{settings.ErrMayNotCreate, 403, "forbidden", map[string]any{"required_role": "admin"}, ""},
		{fmt.Errorf("%w: %w", settings.ErrLocked, driver), 503, "setting-locked", map[string]any{"retry_after": 1.0}, "warn"},
		{fmt.Errorf("%w: begin: %w", settings.ErrUnavailable, driver), 503, "database-unavailable", map[string]any{"retry_after": 1.0}, "warn"},
		{fmt.Errorf("%w: %w", settings.ErrOutcomeUnknown, driver), 503, "outcome-unknown", map[string]any{"retry_after": 1.0}, "warn"},
		{fmt.Errorf("%w: %w", settings.ErrOutcomeUnknown, settings.ErrUnavailable), 503, "outcome-unknown", map[string]any{"retry_after": 1.0}, "warn"},
		{&settings.NotInForceError{Revision: 9, Cause: driver}, 504, "not-in-force", map[string]any{"revision": 9.0}, "warn"},
		{&settings.NotInForceError{Revision: 9, Cause: settings.ErrUnavailable}, 504, "not-in-force", map[string]any{"revision": 9.0}, "warn"},
		{driver, 500, "internal", nil, "error"},
		{echo.ErrNotFound, 404, "not-found", nil, ""},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("PUT", "/a/path?query", nil)
		r.Header.Set("X-Request-ID", "id-"+test.slug)
		s.logs.TakeAll()
		s.fail(fmt.Errorf("wrapped: %w", test.err), s.public.NewContext(r, w))

		p := answer{w.Code, w.Header(), w.Body.String()}.wantProblem(t, test.status, test.slug)
		if p["instance"] != "/a/path" {
			t.Errorf("%s: instance is %v", test.slug, p["instance"])
		}
		for _, member := range []string{"type", "title", "status", "detail", "instance"} {
			delete(p, member)
		}
		if test.members == nil {
			test.members = map[string]any{}
		}
		if diff := cmp.Diff(test.members, p); diff != "" {
			t.Errorf("%s: members (-want +got):\n%s", test.slug, diff)
		}
		if got := w.Header().Get("Retry-After"); (got != "") != (p["retry_after"] != nil) {
			t.Errorf("%s: Retry-After is %q", test.slug, got)
		}
		if strings.Contains(w.Body.String(), "secret detail") {
			t.Errorf("%s tells what the driver said: %s", test.slug, w.Body)
		}
		entries := s.logs.FilterMessage("failed").All()
		switch {
		case test.logged == "" && len(entries) != 0:
			t.Errorf("%s is logged: %v", test.slug, entries)
		case test.logged != "" && (len(entries) != 1 || entries[0].Level.String() != test.logged || entries[0].ContextMap()["request_id"] != "id-"+test.slug):
			t.Errorf("%s is logged as %v", test.slug, entries)
		}
	}
}

func TestTheProblemsPathIsBounded(t *testing.T) {
	s := serve(t, nil)
	p := s.get(t, "/"+strings.Repeat("%20", 5000), "").wantProblem(t, 404, "not-found")
	if n := len(p["instance"].(string)); n != maxPath {
		t.Errorf("instance has %d bytes, want %d", n, maxPath)
	}
}

func TestBeforeTheFirstSnapshotReadingSettingsIs503(t *testing.T) {
	s := serveOn(t, newEngine(t), nil)
	for _, path := range []string{"/api/v1/settings", "/api/v1/settings/maintenance_mode", "/api/v1/admin/settings/maintenance_mode"} {
		a := s.get(t, path, adminToken)
		a.wantProblem(t, 503, "no-snapshot")
		if a.header.Get("Retry-After") != "1" {
			t.Errorf("%s: Retry-After is %q", path, a.header.Get("Retry-After"))
		}
	}
	s.do(t, request{method: "PUT", path: "/api/v1/admin/settings/a", token: adminToken, body: `{"value":1}`}).wantProblem(t, 503, "no-snapshot")
	s.get(t, "/api/v1/settings", wrongToken).wantProblem(t, 401, "unauthorized")
	// The gate and the public status work with what the pod knows so far.
	for _, path := range []string{"/", "/gate", "/api/v1/maintenance"} {
		if a := s.get(t, path, ""); a.status != http.StatusOK {
			t.Errorf("%s: %d", path, a.status)
		}
	}
}
