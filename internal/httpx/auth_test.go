package httpx

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestTokensAreParsed(t *testing.T) {
	for _, none := range []string{"", "  "} {
		if tokens, err := ParseTokens(none); tokens != nil || err != nil {
			t.Errorf("ParseTokens(%q) = %v, %v", none, tokens, err)
		}
	}
	tokens := testTokens(t)
	for secret, want := range map[string]caller{
		viewerToken: {name: "vera", role: viewer}, operatorToken: {name: "otto", role: operator}, adminToken: {name: "ada", role: administrator},
	} {
		if got, ok := tokens.find(secret); !ok || got != want {
			t.Errorf("find = %v, %t, want %v", got, ok, want)
		}
	}
	for _, wrong := range []string{"", wrongToken, viewerToken + "x", viewerToken[1:]} {
		if got, ok := tokens.find(wrong); ok {
			t.Errorf("find(%q) = %v", wrong, got)
		}
	}
}

func TestRefusedTokensAreNamedAndNotShown(t *testing.T) {
	const secret = "S3CRET-0123456789-0123456789-0123456789"
	good := "ada:admin:" + adminToken
	for entries, want := range map[string]string{
		secret:                               `token 1: want name:role:token`,
		"ada:" + secret:                      `token 1: want name:role:token`,
		good + ",":                           `token 2: want name:role:token`,
		good + ",bob:root:" + secret:         `token 2 ("bob"): the role must be`,
		good + ",bob:Admin:" + secret:        `token 2 ("bob"): the role must be`,
		"bob:" + secret + ":admin":           `token 1 ("bob"): the role must be`,
		secret + ":admin:bob":                `token 1: the token must have 32 to 512 characters, it has 3`,
		secret + ":bob:admin":                `token 1: the role must be`,
		"bob!:admin:" + secret:               `token 1: the name must be`,
		":admin:" + secret:                   `token 1: the name must be`,
		"bob:admin:" + secret[:31]:           `token 1 ("bob"): the token must have 32 to 512 characters, it has 31`,
		"bob:admin:":                         `token 1 ("bob"): the token must have 32 to 512 characters, it has 0`,
		"bob:admin:" + secret + " " + secret: `token 1 ("bob"): the token must be visible ASCII`,
		"bob:admin:" + secret + "é":          `token 1 ("bob"): the token must be visible ASCII`,
		good + ",ada:viewer:" + secret:       `token 2 ("ada"): the name is that of token 1 too`,
		good + ",bob:viewer:" + adminToken:   `token 2 ("bob"): it is the same token as token 1`,
	} {
		tokens, err := ParseTokens(entries)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("ParseTokens(%q) = %v, want %s", entries, err, want)
			continue
		}
		if tokens != nil || strings.Contains(err.Error(), "S3CRET") || strings.Contains(err.Error(), adminToken[:8]) {
			t.Errorf("ParseTokens(%q) = %v, %v", entries, tokens, err)
		}
	}
	if shown := fmt.Sprintf("%v %+v", testTokens(t), testTokens(t)); strings.Contains(shown, viewerToken) {
		t.Errorf("printing tokens shows them: %s", shown)
	}
}

func TestAuthorizationIsReadStrictly(t *testing.T) {
	s := serve(t, nil)
	for _, test := range []struct {
		header []string
		want   int
	}{
		{[]string{"Bearer " + viewerToken}, 200},
		{[]string{"bearer " + viewerToken}, 200},
		{[]string{"BEARER   " + viewerToken + " "}, 200},
		{[]string{""}, 401},
		{[]string{"Bearer"}, 401},
		{[]string{"Bearer "}, 401},
		{[]string{viewerToken}, 401},
		{[]string{"Basic " + viewerToken}, 401},
		{[]string{"Bearer " + viewerToken + "," + adminToken}, 401},
		{[]string{"Bearer " + viewerToken, "Bearer " + viewerToken}, 401},
		{[]string{"Bearer " + strings.Repeat(" ", maxAuthorization) + viewerToken}, 401},
		{[]string{"Bearer " + strings.Repeat("x", 8<<10)}, 401},
	} {
		for _, path := range []string{"/api/v1/admin/maintenance", "/api/v1/settings"} {
			a := s.do(t, request{method: "GET", path: path, header: http.Header{"Authorization": test.header}})
			if a.status != test.want {
				t.Errorf("%s with %.60q: %d, want %d", path, test.header, a.status, test.want)
			}
			if a.status == 401 {
				a.wantProblem(t, 401, "unauthorized")
				if got, want := a.header.Get("WWW-Authenticate"), `Bearer realm="platform-settings", error="invalid_token"`; got != want {
					t.Errorf("WWW-Authenticate is %q, want %q", got, want)
				}
			}
		}
	}
	a := s.get(t, "/api/v1/admin/maintenance", "")
	a.wantProblem(t, 401, "unauthorized")
	if got := a.header.Get("WWW-Authenticate"); got != `Bearer realm="platform-settings"` {
		t.Errorf("WWW-Authenticate without a token is %q", got)
	}
	if got := a.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control is %q", got)
	}
}

func TestDenialsAreLoggedWithTheCaller(t *testing.T) {
	s := serve(t, nil)
	p := s.do(t, request{method: "DELETE", path: "/api/v1/admin/settings/maintenance_mode?x=y", token: operatorToken}).wantProblem(t, 403, "forbidden")
	if p["required_role"] != "admin" || !strings.Contains(p["detail"].(string), `"otto" has the role operator`) {
		t.Errorf("the problem is %v", p)
	}
	s.get(t, "/api/v1/admin/maintenance", wrongToken)
	for _, name := range []string{"otto", "anonymous"} {
		entry := s.logged(t, "denied", func(f map[string]any) bool { return f["caller"] == name })
		if entry["client_ip"] != "127.0.0.1" || entry["level"] != "warn" || entry["request_id"] == "" {
			t.Errorf("logged %v", entry)
		}
	}
	for _, entry := range s.logs.All() {
		if line := fmt.Sprint(entry.Message, entry.ContextMap()); strings.Contains(line, operatorToken) || strings.Contains(line, wrongToken) || strings.Contains(line, "x=y") {
			t.Errorf("the log holds what it must not: %s", line)
		}
	}
}

func TestWithoutTokensThereIsNoAdminAPI(t *testing.T) {
	s := serve(t, func(c *Config) { c.Tokens = nil })
	for _, r := range []request{
		{method: "GET", path: "/api/v1/admin/maintenance"},
		{method: "PUT", path: "/api/v1/admin/maintenance", token: adminToken, body: `{"enabled":true}`},
		{method: "DELETE", path: "/api/v1/admin/settings/maintenance_mode", token: adminToken},
		{method: "GET", path: "/api/v1/admin/nothing"},
	} {
		p := s.do(t, r).wantProblem(t, 404, "admin-disabled")
		if !strings.Contains(p["detail"].(string), "ADMIN_TOKENS") {
			t.Errorf("detail: %v", p["detail"])
		}
	}
	if a := s.get(t, "/api/v1/settings", ""); a.status != 200 {
		t.Errorf("reading settings: %d", a.status)
	}
	s.get(t, "/api/v1/settings", adminToken).wantProblem(t, 401, "unauthorized")
}
