package httpx

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var ignoreTimes = cmpopts.IgnoreMapEntries(func(k string, _ any) bool { return k == "updated_at" })

func TestSettingsAreListedByWhatTheCallerMaySee(t *testing.T) {
	s := serve(t, nil)
	if a := s.get(t, "/api/v1/settings", "").body; a != `{"revision":1,"settings":[]}`+"\n" {
		t.Errorf("without public settings: %s", a)
	}
	s.put(t, "settings/z.shown", `{"kind":"json","value":{"b":[1,null],"a":"<>"},"description":"d","public":true}`)
	s.put(t, "settings/a_hidden", `{"kind":"float","value":2.5}`)

	mode := map[string]any{
		"key": "maintenance_mode", "kind": "bool", "value": false, "public": false, "revision": 1.0, "updated_by": "postgres",
		"description": "Answers 503 to everything but health, admin and reading settings.",
	}
	shown := map[string]any{
		"key": "z.shown", "kind": "json", "value": map[string]any{"b": []any{1.0, nil}, "a": "<>"},
		"description": "d", "public": true, "revision": 2.0, "updated_by": "ada",
	}
	hidden := map[string]any{
		"key": "a_hidden", "kind": "float", "value": 2.5,
		"description": "", "public": false, "revision": 3.0, "updated_by": "ada",
	}
	for _, test := range []struct {
		token, cache string
		want         []any
	}{
		{"", "no-cache", []any{shown}},
		{viewerToken, "private, no-cache", []any{hidden, mode, shown}},
	} {
		a := s.get(t, "/api/v1/settings", test.token)
		got := a.json(t)
		for _, setting := range got["settings"].([]any) {
			setting := setting.(map[string]any)
			if setting["key"] == "maintenance_mode" {
				setting["updated_by"] = "postgres" // the role that ran the migrations
			}
			if at, err := time.Parse(time.RFC3339, setting["updated_at"].(string)); err != nil || at.IsZero() || at.Location() != time.UTC {
				t.Errorf("updated_at is %v, %v", setting["updated_at"], err)
			}
		}
		if diff := cmp.Diff(map[string]any{"revision": 3.0, "settings": test.want}, got, ignoreTimes); diff != "" {
			t.Errorf("settings with token %.8q (-want +got):\n%s", test.token, diff)
		}
		if a.header.Get("Vary") != "Authorization" || a.header.Get("Cache-Control") != test.cache || a.header.Get("Content-Type") != typeJSON {
			t.Errorf("header with token %.8q: %v", test.token, a.header)
		}
	}
	for _, path := range []string{"/api/v1/settings/z.shown", "/api/v1/admin/settings/z.shown"} {
		if diff := cmp.Diff(shown, s.get(t, path, viewerToken).json(t), ignoreTimes); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
}

func TestAPrivateSettingsExistenceIsNotTold(t *testing.T) {
	s := serve(t, nil)
	s.put(t, "settings/hidden", `{"kind":"int","value":1}`)
	hidden, absent := s.get(t, "/api/v1/settings/hidden", ""), s.get(t, "/api/v1/settings/absent", "")
	hiddenProblem, absentProblem := hidden.wantProblem(t, 404, "no-such-setting"), absent.wantProblem(t, 404, "no-such-setting")
	if diff := cmp.Diff(hiddenProblem, absentProblem, cmpopts.IgnoreMapEntries(func(k string, _ any) bool { return k == "instance" })); diff != "" {
		t.Errorf("hidden and absent differ:\n%s", diff)
	}
	for _, header := range []string{"Etag", "Cache-Control", "Vary"} {
		if hidden.header.Get(header) != absent.header.Get(header) {
			t.Errorf("%s differs: %q, %q", header, hidden.header.Get(header), absent.header.Get(header))
		}
	}
}

func TestASettingIsCreatedChangedAndDeleted(t *testing.T) {
	s := serve(t, nil)
	const path = "/api/v1/admin/settings/shop.limit"
	created := s.do(t, request{method: "PUT", path: path, token: adminToken, body: `{"kind":"int","value":9007199254740993,"reason":"new shop"}`})
	if created.status != 201 || created.header.Get("Location") != path || created.header.Get("ETag") != `"2"` {
		t.Errorf("create: %d %v", created.status, created.header)
	}
	want := map[string]any{"revision": 2.0, "setting": map[string]any{
		"key": "shop.limit", "kind": "int", "value": 9007199254740993.0,
		"description": "", "public": false, "revision": 2.0, "updated_by": "ada",
	}}
	if diff := cmp.Diff(want, created.written(t), ignoreTimes); diff != "" {
		t.Errorf("created (-want +got):\n%s", diff)
	}
	if v := s.engine.Current().Lookup("shop.limit").Value.Int(); v != 9007199254740993 {
		t.Errorf("the value is %d", v)
	}

	// An operator changes the value; everything else stays the same.
	s.put(t, "settings/shop.limit", `{"value":1,"description":"Items a cart.","public":true}`)
	changed := s.do(t, request{method: "PUT", path: path, token: operatorToken, body: `{"value":5}`})
	want = map[string]any{"revision": 4.0, "setting": map[string]any{
		"key": "shop.limit", "kind": "int", "value": 5.0,
		"description": "Items a cart.", "public": true, "revision": 4.0, "updated_by": "otto",
	}}
	if diff := cmp.Diff(want, changed.written(t), ignoreTimes); changed.status != 200 || changed.header.Get("ETag") != `"4"` || diff != "" {
		t.Errorf("changed: %d (-want +got):\n%s", changed.status, diff)
	}

	// Writing the same value again makes no commit.
	if same := s.do(t, request{method: "PUT", path: path, token: operatorToken, body: `{"value":5}`}); same.header.Get("ETag") != `"4"` || same.json(t)["revision"] != 4.0 {
		t.Errorf("the same again: %v %s", same.header, same.body)
	}

	s.do(t, request{method: "PUT", path: path, token: adminToken, body: `{"value":true,"kind":"bool"}`}).wantProblem(t, 409, "kind-mismatch")
	for _, body := range []string{`{"value":true}`, `{"value":1.5}`, `{"value":"5","kind":"int"}`} {
		if p := s.do(t, request{method: "PUT", path: path, token: adminToken, body: body}).wantProblem(t, 422, "invalid-field"); p["field"] != "value" {
			t.Errorf("%s: field is %v", body, p["field"])
		}
	}

	deleted := s.do(t, request{method: "DELETE", path: path, token: adminToken, body: `{"reason":"no shop"}`})
	if diff := cmp.Diff(map[string]any{"revision": 5.0}, deleted.written(t)); deleted.status != 200 || diff != "" {
		t.Errorf("deleted: %d (-want +got):\n%s", deleted.status, diff)
	}
	s.do(t, request{method: "DELETE", path: path, token: adminToken}).wantProblem(t, 404, "no-such-setting")
	s.get(t, path, viewerToken).wantProblem(t, 404, "no-such-setting")
}

func TestSettingsThatMakeNoSenseAreRefused(t *testing.T) {
	s := serve(t, nil)
	for _, test := range []struct{ key, body, field string }{
		{"fresh", `{"value":1}`, "kind"},
		{"fresh", `{"value":1,"kind":"number"}`, "kind"},
		{"fresh", `{"value":1,"kind":""}`, "kind"},
		{"fresh", `{"value":null,"kind":"int"}`, "value"},
		{"fresh", `{"value":1e400,"kind":"float"}`, "value"},
		{"fresh", `{"value":9223372036854775808,"kind":"int"}`, "value"},
		{"fresh", `{"value":"2030-13-01T00:00:00Z","kind":"time"}`, "value"},
		{"Fresh", `{"value":1,"kind":"int"}`, "key"},
		{"fresh-1", `{"value":1,"kind":"int"}`, "key"},
		{"fresh%20", `{"value":1,"kind":"int"}`, "key"},
		{"fresh%2Fhistory", `{"value":1,"kind":"int"}`, "key"},
		{"maintenance_retry_after", `{"value":0,"kind":"int"}`, "value"},
		{"maintenance_message", `{"value":1,"kind":"int"}`, "value"},
	} {
		a := s.do(t, request{method: "PUT", path: "/api/v1/admin/settings/" + test.key, token: adminToken, body: test.body})
		if p := a.wantProblem(t, 422, "invalid-field"); p["field"] != test.field {
			t.Errorf("%s %s: %s", test.key, test.body, a.body)
		}
	}
	if a := s.do(t, request{method: "PUT", path: "/api/v1/admin/settings/j", token: adminToken, body: `{"value":null,"kind":"json"}`}); a.status != 201 {
		t.Errorf("JSON null is a value: %d %s", a.status, a.body)
	}
}

func TestAWriteAnswersWhenItIsInForceHere(t *testing.T) {
	s := serve(t, nil)
	for _, body := range []string{`{"enabled":true}`, `{"enabled":false}`, `{"enabled":true}`} {
		revision := s.put(t, "maintenance", body).json(t)["revision"]
		if got := s.engine.Current().Revision(); float64(got) != revision {
			t.Errorf("answered revision %v, in force is %d", revision, got)
		}
	}
}
