package httpx

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestMaintenanceIsToldToEverybody(t *testing.T) {
	s := serve(t, nil)
	a := s.get(t, "/api/v1/maintenance", "")
	want := map[string]any{
		"active": false, "enabled": false, "read_only": false, "message": "", "retry_after": 30.0,
		"starts_at": nil, "ends_at": nil, "since": nil, "until": nil,
	}
	if diff := cmp.Diff(want, a.json(t)); diff != "" {
		t.Errorf("maintenance (-want +got):\n%s", diff)
	}
	if a.header.Get("Cache-Control") != "no-store" || a.header.Get("ETag") != "" {
		t.Errorf("header: %v", a.header)
	}

	start := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	end := start.Add(time.Hour)
	put := s.put(t, "maintenance", `{"read_only":true,"message":"Soon.","retry_after":7,"starts_at":"`+start.Format(time.RFC3339)+`","ends_at":"`+end.Format(time.RFC3339)+`"}`)
	want = map[string]any{
		"active": false, "enabled": false, "read_only": true, "message": "Soon.", "retry_after": 7.0,
		"starts_at": start.Format(time.RFC3339), "ends_at": end.Format(time.RFC3339), "since": nil, "until": nil,
	}
	if diff := cmp.Diff(want, s.get(t, "/api/v1/maintenance", "").json(t)); diff != "" {
		t.Errorf("a coming window (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"revision": 2.0, "maintenance": want}, put.written(t)); diff != "" {
		t.Errorf("the answer to PUT (-want +got):\n%s", diff)
	}
	want["revision"] = 2.0
	if diff := cmp.Diff(want, s.get(t, "/api/v1/admin/maintenance", viewerToken).json(t)); diff != "" {
		t.Errorf("for admins (-want +got):\n%s", diff)
	}

	s.put(t, "maintenance", `{"enabled":true}`)
	got := s.get(t, "/api/v1/maintenance", "").json(t)
	want = map[string]any{
		"active": true, "enabled": true, "read_only": false, "message": "", "retry_after": 30.0,
		"starts_at": nil, "ends_at": nil, "until": nil,
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreMapEntries(func(k string, _ any) bool { return k == "since" })); diff != "" {
		t.Errorf("PUT replaces (-want +got):\n%s", diff)
	}
	if since, err := time.Parse(time.RFC3339, got["since"].(string)); err != nil || time.Since(since) > patience {
		t.Errorf("since is %v, %v", got["since"], err)
	}
}

func TestForIsAWindowFromNow(t *testing.T) {
	s := serve(t, nil)
	before := time.Now()
	m := s.put(t, "maintenance", `{"for":"1h30m","reason":"a drill"}`).json(t)["maintenance"].(map[string]any)
	after := time.Now()
	start, err := time.Parse(time.RFC3339, m["starts_at"].(string))
	if err != nil || start.Before(before.Truncate(time.Microsecond)) || start.After(after) {
		t.Errorf("starts_at is %v, %v", m["starts_at"], err)
	}
	end, err := time.Parse(time.RFC3339, m["ends_at"].(string))
	if err != nil || end.Sub(start).Round(time.Millisecond) != 90*time.Minute {
		t.Errorf("ends_at is %v, %v", m["ends_at"], err)
	}
	if m["active"] != true || m["enabled"] != false || m["until"] != m["ends_at"] || m["since"] != m["starts_at"] {
		t.Errorf("maintenance is %v", m)
	}

	m = s.put(t, "maintenance", `{"ends_at":"`+end.Format(time.RFC3339)+`"}`).json(t)["maintenance"].(map[string]any)
	if m["active"] != true || m["starts_at"] == nil {
		t.Errorf("ends_at alone: %v", m)
	}
	m = s.put(t, "maintenance", `{"starts_at":"2000-01-01T02:00:00+02:00","enabled":null,"ends_at":null,"for":null,"message":null}`).json(t)["maintenance"].(map[string]any)
	if m["active"] != true || m["starts_at"] != "2000-01-01T00:00:00Z" || m["until"] != nil {
		t.Errorf("starts_at alone: %v", m)
	}
}

func TestMaintenanceThatMakesNoSenseIsRefused(t *testing.T) {
	s := serve(t, nil)
	for body, field := range map[string]string{
		`{}`:                                                 "enabled",
		`{"enabled":null}`:                                   "enabled",
		`{"read_only":true,"message":"m"}`:                   "enabled",
		`{"enabled":"true"}`:                                 "enabled",
		`{"enabled":1}`:                                      "enabled",
		`{"enabled":true,"read_only":0}`:                     "read_only",
		`{"enabled":true,"message":7}`:                       "message",
		`{"enabled":true,"message":"\u0000"}`:                "message",
		`{"enabled":true,"retry_after":0}`:                   "retry_after",
		`{"enabled":true,"retry_after":86401}`:               "retry_after",
		`{"enabled":true,"retry_after":9223372036854775807}`: "retry_after",
		`{"enabled":true,"retry_after":9223372036854775808}`: "retry_after",
		`{"enabled":true,"retry_after":1.5}`:                 "retry_after",
		`{"enabled":true,"retry_after":"60"}`:                "retry_after",
		`{"starts_at":"tomorrow"}`:                           "starts_at",
		`{"starts_at":"2030-01-01"}`:                         "starts_at",
		`{"starts_at":1893456000}`:                           "starts_at",
		`{"ends_at":"2000-01-01T00:00:00Z"}`:                 "ends_at",
		`{"starts_at":"2999-01-01T00:00:00Z","ends_at":"2998-01-01T00:00:00Z"}`: "ends_at",
		`{"for":"30"}`:       "for",
		`{"for":30}`:         "for",
		`{"for":"0s"}`:       "for",
		`{"for":"-1h"}`:      "for",
		`{"for":"8760h1ns"}`: "for",
		`{"for":"1h","starts_at":"2999-01-01T00:00:00Z"}`: "for",
		`{"for":"1h","ends_at":"2999-01-01T00:00:00Z"}`:   "for",
	} {
		a := s.do(t, request{method: "PUT", path: "/api/v1/admin/maintenance", token: operatorToken, body: body})
		if a.status != 422 {
			t.Errorf("%s: %d %s", body, a.status, a.body)
			continue
		}
		if p := a.wantProblem(t, 422, "invalid-field"); p["field"] != field || !strings.Contains(p["detail"].(string), field) {
			t.Errorf("%s: %s, want field %s", body, a.body, field)
		}
	}
	for _, name := range []string{"If-Match", "If-None-Match"} {
		s.do(t, request{
			method: "PUT", path: "/api/v1/admin/maintenance", token: operatorToken,
			body: `{"enabled":true}`, header: http.Header{name: {"*"}},
		}).wantProblem(t, 400, "bad-precondition")
	}
	if got := s.engine.Current().Revision(); got != 1 {
		t.Errorf("refused bodies led to revision %d", got)
	}
}

func TestASwitchThatOutlastsItsWindowSaysSo(t *testing.T) {
	s := serve(t, nil)
	for body, noted := range map[string]bool{
		`{"enabled":true,"for":"30m"}`: true, `{"for":"30m"}`: false, `{"enabled":true}`: false,
	} {
		a := s.do(t, request{method: "PUT", path: "/api/v1/admin/maintenance", token: adminToken, body: body})
		if got := strings.Contains(a.body, "stays on after the window"); got != noted {
			t.Errorf("%s: %s", body, a.body)
		}
	}
}
