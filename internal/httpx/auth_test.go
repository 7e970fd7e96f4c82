package httpx

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

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

func TestCallersCanAskWhoTheyAre(t *testing.T) {
	made, line, err := NewToken("eve", "viewer", time.Date(2999, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600)))
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, func(c *Config) { c.Tokens = loadTokens(t, "ada:admin:"+adminToken, newFile(t, line)) })
	for token, want := range map[string]map[string]any{
		adminToken: {"name": "ada", "role": "admin", "until": nil},
		made:       {"name": "eve", "role": "viewer", "until": "2999-01-02T02:04:05Z"},
	} {
		a := s.get(t, "/api/v1/admin/whoami", token)
		if diff := cmp.Diff(want, a.json(t)); a.status != 200 || a.header.Get("Cache-Control") != "no-store" || diff != "" {
			t.Errorf("%d %v (-want +got):\n%s", a.status, a.header, diff)
		}
	}
	s.get(t, "/api/v1/admin/whoami", "").wantProblem(t, 401, "unauthorized")
}

func TestATokenThatHasEndedIsRefusedAndToldSo(t *testing.T) {
	made, line, err := NewToken("eve", "viewer", longAgo)
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, func(c *Config) { c.Tokens = loadTokens(t, "", newFile(t, line)) })
	for _, path := range []string{"/api/v1/admin/whoami", "/api/v1/settings"} {
		p := s.get(t, path, made).wantProblem(t, 401, "unauthorized")
		if !strings.Contains(p["detail"].(string), `"eve" ended at 2020-01-02T03:04:05Z`) {
			t.Errorf("%s: %v", path, p["detail"])
		}
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

// Guarantee 11: access fails closed.
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
