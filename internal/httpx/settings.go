package httpx

import (
	"encoding/json"
	"net/http"

	"github.com/labstack/echo/v4"

	"platform-settings/internal/wire"
	"platform-settings/settings"
)

// settings lists the settings that the caller may see, ordered by key.
func (s *Server) settings(c echo.Context) error {
	encoding, err := s.encoding()
	if err != nil {
		return err
	}
	list := encoding.public
	if varies(c) {
		list = encoding.all
	}
	return sendTagged(c, encoding.snapshot.Revision(), list)
}

// setting answers with one setting. If the caller may not see it, the answer is the
// same as if it did not exist.
func (s *Server) setting(c echo.Context) error {
	encoding, err := s.encoding()
	if err != nil {
		return err
	}
	authorized := varies(c)
	row := encoding.row(keyOf(c))
	switch {
	case row == nil && authorized:
		return settings.ErrNotFound
	case !authorized && (row == nil || !row.setting.Public):
		return noSuchSetting.because("No public setting has this key. Check its spelling, or send a token to see private settings as well.")
	}
	return sendTagged(c, row.setting.Revision, row.alone)
}

func (s *Server) adminSetting(c echo.Context) error {
	encoding, err := s.encoding()
	if err != nil {
		return err
	}
	row := encoding.row(keyOf(c))
	if row == nil {
		return settings.ErrNotFound
	}
	return sendTagged(c, row.setting.Revision, row.alone)
}

// putSetting changes or creates a setting. An operator may change its value and
// description. Only an admin may create a setting or set public.
func (s *Server) putSetting(c echo.Context) error {
	key, who := keyOf(c), callerOf(c)
	if err := settings.CheckKey(key); err != nil {
		return err
	}
	condition, err := conditionOf(c.Request().Header)
	if err != nil {
		return err
	}
	var (
		raw                           json.RawMessage
		kindName, description, reason *string
		public                        *bool
	)
	err = readBody(c,
		field{"value", &raw}, field{"kind", &kindName}, field{"description", &description},
		field{"public", &public}, field{"reason", &reason})
	if err != nil {
		return err
	}
	if raw == nil {
		return invalid("value", "is required")
	}
	if public != nil && who.role < administrator {
		return tooLow(who, administrator, `Setting "public"`)
	}
	kind, err := s.kindOf(key, kindName, who, condition)
	if err != nil {
		return err
	}
	value, err := settings.ParseValue(kind, raw)
	if err != nil {
		return err
	}

	written, err := s.engine.Put(c.Request().Context(), authorOf(c, reason), settings.Put{
		Key: key, Value: value, Description: description, Public: public,
		Condition: condition, MayCreate: who.role >= administrator,
	})
	if err != nil {
		return err
	}
	status := http.StatusOK
	if written.Created {
		status = http.StatusCreated
		c.Response().Header().Set(echo.HeaderLocation, "/api/v1/admin/settings/"+key)
	}
	c.Response().Header().Set(headerETag, etag(written.Setting.Revision))
	setting, err := written.Setting.Wire()
	if err != nil {
		return err
	}
	return s.answerWrite(c, status, written.Revision, wire.Written{Setting: &setting})
}

// kindOf returns the kind that the caller names, or else the setting's own kind.
// A failed If-Match takes precedence over a missing kind.
func (s *Server) kindOf(key string, named *string, who caller, demanded settings.Condition) (settings.Kind, error) {
	if named != nil {
		return settings.ParseKind(*named)
	}
	snapshot, err := s.snapshot()
	if err != nil {
		return 0, err
	}
	if setting := snapshot.Lookup(key); setting != nil {
		return setting.Value.Kind(), nil
	}
	switch {
	case demanded.Exists || demanded.Revisions != nil:
		return 0, &settings.ConflictError{Key: key}
	case who.role < administrator:
		return 0, settings.ErrMayNotCreate
	}
	return 0, invalid("kind", `is required for a new setting: "bool", "int", "float", "text", "time" or "json"`)
}

func (s *Server) deleteSetting(c echo.Context) error {
	condition, err := conditionOf(c.Request().Header)
	if err != nil {
		return err
	}
	var reason *string
	if err := readBody(c, field{"reason", &reason}); err != nil {
		return err
	}
	written, err := s.engine.Delete(c.Request().Context(), authorOf(c, reason), keyOf(c), condition)
	if err != nil {
		return err
	}
	return s.answerWrite(c, http.StatusOK, written.Revision, wire.Written{})
}

func authorOf(c echo.Context, reason *string) settings.Author {
	return settings.Author{Actor: callerOf(c).name, Reason: orZero(reason), Awaits: c.Get(waitKey) != nil}
}

// snapshot returns the current snapshot if it comes from the database or the
// last-good file. Without one, this pod cannot know which settings exist, and the
// error is a problem.
func (s *Server) snapshot() (*settings.Snapshot, error) {
	snapshot := s.engine.Current()
	if !snapshot.Source().Known() {
		p := noSnapshot.because("This pod has not read the settings from its database yet. Try again; /readyz reports the pod's state.")
		p.RetryAfter = 1
		return nil, p
	}
	return snapshot, nil
}

// encoding returns the JSON of the current snapshot. It fails as [Server.snapshot] does.
func (s *Server) encoding() (*encoding, error) {
	if _, err := s.snapshot(); err != nil {
		return nil, err
	}
	return s.encoded.of(s.engine.Current), nil
}

// varies tells caches that the answer depends on the token, and reports whether the
// caller has one.
func varies(c echo.Context) (authorized bool) {
	authorized = callerOf(c).role != 0
	h := c.Response().Header()
	h.Add(echo.HeaderVary, echo.HeaderAuthorization)
	h.Set(echo.HeaderCacheControl, "no-cache")
	if authorized {
		h.Set(echo.HeaderCacheControl, "private, no-cache")
	}
	return authorized
}

// sendTagged answers with the revision as ETag. If the caller already has that
// revision, it answers 304, and encodes nothing.
func sendTagged(c echo.Context, r settings.Revision, pieces func() ([][]byte, error)) error {
	c.Response().Header().Set(headerETag, etag(r))
	if notModified(c, r) {
		return c.NoContent(http.StatusNotModified)
	}
	body, err := pieces()
	if err != nil {
		return err
	}
	return send(c, http.StatusOK, typeJSON, body...)
}
