package httpx

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
)

// role says what a token allows. Each role includes the rights of those before it.
type role int

const (
	viewer        role = iota + 1 // read
	operator                      // turn the switch, change values
	administrator                 // create, delete, make public
)

var roleNames = []string{viewer: "viewer", operator: "operator", administrator: "admin"}

func (r role) String() string { return roleNames[r] }

// caller is the sender of a request.
type caller struct {
	name  string
	role  role      // 0: no token
	until time.Time // when the token ends; zero: never
}

// maxAuthorization is the longest Authorization header that is accepted, in bytes.
const maxAuthorization = 4 << 10

const callerKey = "caller"

// callerOf returns the caller that [Server.identify] found; without one, anonymous.
func callerOf(c echo.Context) caller {
	if who, ok := c.Get(callerKey).(caller); ok {
		return who
	}
	return caller{name: "anonymous"}
}

// identify finds the caller by the request's token. A request without a token
// passes. One with a wrong token is refused, because its caller would mistake the
// public view for their own.
func (s *Server) identify(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if c.Request().Header.Values(echo.HeaderAuthorization) == nil {
			return next(c)
		}
		who, ok := s.bearer(c.Request().Header)
		if ok {
			c.Set(callerKey, who)
			return next(c)
		}
		detail := "The Authorization header holds no valid token. Send one line, Authorization: Bearer TOKEN, with a token from ADMIN_TOKENS or ADMIN_TOKENS_FILE."
		if who.role != 0 {
			detail = fmt.Sprintf("The token of %q ended at %s. Use another; api token new makes one.", who.name, who.until.UTC().Format(time.RFC3339))
		}
		return challenge(c, `, error="invalid_token"`, detail)
	}
}

// bearer finds the caller by the token in the Authorization header, of which
// there must be exactly one line. If the token has ended, it returns the caller,
// but ok is false.
func (s *Server) bearer(h http.Header) (who caller, ok bool) {
	sent := h.Values(echo.HeaderAuthorization)
	if len(sent) != 1 || len(sent[0]) > maxAuthorization {
		return caller{}, false
	}
	scheme, secret, _ := strings.Cut(sent[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return caller{}, false
	}
	return s.tokens.find(strings.TrimSpace(secret))
}

// adminEnabled hides the admin API if no token is configured: nobody could use it.
func (s *Server) adminEnabled(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		noStore(c)
		if s.tokens.none() {
			return adminDisabled.because("No token is configured. Add one to ADMIN_TOKENS_FILE, or set ADMIN_TOKENS to name:role:token and start the pod again.")
		}
		return next(c)
	}
}

// allow lets callers pass who have at least this role.
func allow(least role) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			switch who := callerOf(c); {
			case who.role == 0:
				return challenge(c, "", "This needs a token. Send Authorization: Bearer TOKEN, with a token from ADMIN_TOKENS or ADMIN_TOKENS_FILE.")
			case who.role < least:
				return tooLow(who, least, "This")
			}
			return next(c)
		}
	}
}

func tooLow(who caller, least role, what string) error {
	p := forbidden.because("%s requires the role %s, but the token of %q has the role %s.", what, least, who.name, who.role)
	p.RequiredRole = least.String()
	return p
}

func challenge(c echo.Context, more, detail string) error {
	c.Response().Header().Set(echo.HeaderWWWAuthenticate, `Bearer realm="platform-settings"`+more)
	return unauthorized.because("%s", detail)
}

type identity struct {
	Name  string     `json:"name"`
	Role  string     `json:"role"`
	Until *time.Time `json:"until"` // null: the token has no end
}

// whoami tells the caller who they are.
func whoami(c echo.Context) error {
	who := callerOf(c)
	return sendJSON(c, http.StatusOK, typeJSON, identity{who.name, who.role.String(), orNull(who.until)})
}
