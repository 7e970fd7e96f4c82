package httpx

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
)

// role is what a token is good for; a higher one may all that a lower one may.
type role int

const (
	viewer        role = iota + 1 // read
	operator                      // the switch, and values
	administrator                 // create, delete, make public
)

var roleNames = []string{viewer: "viewer", operator: "operator", administrator: "admin"}

func (r role) String() string { return roleNames[r] }

// caller is who sends a request.
type caller struct {
	name string
	role role // 0: no token
}

// Tokens say who may call the admin API. They hold digests, not the tokens.
type Tokens []token

type token struct {
	caller
	digest [sha256.Size]byte
}

const (
	minToken         = 32
	maxAuthorization = 4 << 10
)

var tokenName = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,64}$`)

// ParseTokens reads "name:role:token,…"; the roles are viewer, operator and
// admin. An error names the entry, and holds no part of any token, not even of
// one that stands in the wrong place.
func ParseTokens(s string) (Tokens, error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	var tokens Tokens
	for i, entry := range strings.Split(s, ",") {
		parsed, err := parseToken(strings.TrimSpace(entry))
		if err == nil {
			err = tokens.check(parsed)
		}
		if err != nil {
			where := fmt.Sprintf("token %d", i+1)
			// What is as long as a token may well be one.
			if len(parsed.name) < minToken && parsed.name != "" {
				where += fmt.Sprintf(" (%q)", parsed.name)
			}
			return nil, fmt.Errorf("%s: %w", where, err)
		}
		tokens = append(tokens, parsed)
	}
	return tokens, nil
}

func parseToken(entry string) (token, error) {
	parts := strings.SplitN(entry, ":", 3)
	if len(parts) != 3 {
		return token{}, errors.New("want name:role:token")
	}
	name, roleName, secret := parts[0], parts[1], parts[2]
	if !tokenName.MatchString(name) {
		return token{}, errors.New("the name must be 1 to 64 letters, digits, '_', '.' and '-'")
	}
	t := token{caller: caller{name: name}, digest: sha256.Sum256([]byte(secret))}
	t.role = role(slices.Index(roleNames[viewer:], roleName)) + viewer
	switch {
	case t.role < viewer:
		return t, errors.New("the role must be viewer, operator or admin")
	case len(secret) < minToken:
		return t, fmt.Errorf("the token must have at least %d characters, it has %d", minToken, len(secret))
	case strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r > '~' }):
		return t, errors.New("the token must be visible ASCII")
	}
	return t, nil
}

// check holds a token against those before it.
func (ts Tokens) check(t token) error {
	for i, other := range ts {
		switch {
		case other.name == t.name:
			return fmt.Errorf("the name is that of token %d too", i+1)
		case other.digest == t.digest:
			return fmt.Errorf("it is the same token as token %d", i+1)
		}
	}
	return nil
}

// find looks for the caller with this token; it takes as long whichever it is.
func (ts Tokens) find(secret string) (found caller, ok bool) {
	digest := sha256.Sum256([]byte(secret))
	for _, t := range ts {
		if subtle.ConstantTimeCompare(digest[:], t.digest[:]) == 1 {
			found, ok = t.caller, true
		}
	}
	return found, ok
}

const callerKey = "caller"

// callerOf is who sent the request, as far as [Server.identify] has found out.
func callerOf(c echo.Context) caller {
	if who, ok := c.Get(callerKey).(caller); ok {
		return who
	}
	return caller{name: "anonymous"}
}

// identify finds out whose token the request bears. Without any it passes, with
// a wrong one it does not: nobody should take the public view for their own.
func (s *Server) identify(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if c.Request().Header.Values(echo.HeaderAuthorization) == nil {
			return next(c)
		}
		if who, ok := s.bearer(c.Request().Header); ok {
			c.Set(callerKey, who)
			return next(c)
		}
		return challenge(c, `, error="invalid_token"`, "The header Authorization holds no valid token. Send one line, Authorization: Bearer TOKEN, with a token from ADMIN_TOKENS.")
	}
}

// bearer is whose token the one line Authorization holds.
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

// adminEnabled hides the admin API where nobody could use it.
func (s *Server) adminEnabled(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		noStore(c)
		if len(s.tokens) == 0 {
			return adminDisabled.because("No token is configured. Set ADMIN_TOKENS to name:role:token and start the pod again.")
		}
		return next(c)
	}
}

// allow lets a role pass, and those above it.
func allow(least role) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			switch who := callerOf(c); {
			case who.role == 0:
				return challenge(c, "", "This needs a token. Send Authorization: Bearer TOKEN, with a token from ADMIN_TOKENS.")
			case who.role < least:
				return tooLow(who, least, "This")
			}
			return next(c)
		}
	}
}

func tooLow(who caller, least role, what string) error {
	p := forbidden.because("%s takes the role %s, and the token of %q has the role %s.", what, least, who.name, who.role)
	p.RequiredRole = least.String()
	return p
}

func challenge(c echo.Context, more, detail string) error {
	c.Response().Header().Set(echo.HeaderWWWAuthenticate, `Bearer realm="platform-settings"`+more)
	return unauthorized.because("%s", detail)
}
