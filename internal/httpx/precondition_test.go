package httpx

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEntityTagsAreParsed(t *testing.T) {
	type parsed struct {
		Tags     []string
		Star, OK bool
	}
	for value, want := range map[string]parsed{
		`"1"`:               {[]string{"1"}, false, true},
		`"1", W/"2" ,"a,b"`: {[]string{"1", "W2", "a,b"}, false, true},
		`"1",,"2",`:         {[]string{"1", "2"}, false, true},
		`""`:                {[]string{""}, false, true},
		` * `:               {nil, true, true},
		``:                  {},
		`,`:                 {},
		`1`:                 {},
		`"1`:                {},
		`"1""2"`:            {},
		`w/"1"`:             {},
		`*, "1"`:            {},
		`"1", *`:            {},
		`"1" x`:             {},
	} {
		tags, star, ok := parseTags(value)
		got := parsed{nil, star, ok}
		for _, tag := range tags {
			text := tag.opaque
			if tag.weak {
				text = "W" + text
			}
			got.Tags = append(got.Tags, text)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("parseTags(%s) (-want +got):\n%s", value, diff)
		}
	}
}

func TestReadingWithIfNoneMatch(t *testing.T) {
	s := serve(t, nil)
	s.put(t, "settings/other", `{"kind":"int","value":1}`)
	a := s.put(t, "settings/shown", `{"kind":"int","value":1,"public":true}`)
	tag := a.header.Get("ETag")
	if want := fmt.Sprintf(`"%v"`, a.json(t)["revision"]); tag != want {
		t.Fatalf("ETag is %s, want %s", tag, want)
	}
	for _, path := range []string{"/api/v1/settings", "/api/v1/settings/shown", "/api/v1/admin/settings/shown"} {
		if got := s.get(t, path, viewerToken).header.Get("ETag"); got != tag {
			t.Errorf("%s: ETag is %s, want %s", path, got, tag)
		}
		for sent, want := range map[string]int{
			tag: 304, "W/" + tag: 304, `"x", ` + tag: 304, "*": 304,
			`"1"`: 200, `"x"`: 200, "nonsense": 200, tag[1 : len(tag)-1]: 200, "": 200,
		} {
			a := s.do(t, request{method: "GET", path: path, token: viewerToken, header: http.Header{"If-None-Match": {sent}}})
			if a.status != want || a.header.Get("ETag") != tag || a.header.Get("Cache-Control") == "" {
				t.Errorf("%s, If-None-Match %s: %d %v, want %d", path, sent, a.status, a.header, want)
			}
			if want == 304 && a.body != "" {
				t.Errorf("304 with a body: %s", a.body)
			}
		}
	}
	// A change of another setting changes the list's tag, not this setting's.
	s.put(t, "settings/other", `{"value":2}`)
	if got := s.get(t, "/api/v1/settings/shown", "").header.Get("ETag"); got != tag {
		t.Errorf("the setting's ETag is %s, want %s", got, tag)
	}
	if got := s.get(t, "/api/v1/settings", "").header.Get("ETag"); got == tag {
		t.Errorf("the list's ETag is still %s", got)
	}
}

func TestWritesHoldToTheirPreconditions(t *testing.T) {
	s := serve(t, nil)
	write := func(method, key string, header http.Header) answer {
		t.Helper()
		body := `{"kind":"int","value":1}`
		if method == "DELETE" {
			body = ""
		}
		return s.do(t, request{method: method, path: "/api/v1/admin/settings/" + key, token: adminToken, body: body, header: header})
	}
	tag := s.put(t, "settings/k", `{"kind":"int","value":0}`).header.Get("ETag")
	number := tag[1 : len(tag)-1]
	for _, method := range []string{"PUT", "DELETE"} {
		for _, test := range []struct {
			key     string
			header  http.Header
			status  int
			current any
		}{
			{"k", http.Header{"If-Match": {`"999"`}}, 412, number},
			{"k", http.Header{"If-Match": {"W/" + tag}}, 412, number},
			{"k", http.Header{"If-Match": {`"0` + number + `"`}}, 412, number},
			{"k", http.Header{"If-Match": {`"abc"`}}, 412, number},
			{"k", http.Header{"If-None-Match": {"*"}}, 412, number},
			{"k", http.Header{"If-Match": {tag}, "If-None-Match": {"*"}}, 412, number},
			{"absent", http.Header{"If-Match": {"*"}}, 412, "0"},
			{"absent", http.Header{"If-Match": {`"0"`}}, 412, "0"},
			{"k", http.Header{"If-Match": {number}}, 400, nil},
			{"k", http.Header{"If-Match": {""}}, 400, nil},
			{"k", http.Header{"If-None-Match": {tag}}, 400, nil},
			{"k", http.Header{"If-None-Match": {""}}, 400, nil},
		} {
			a := write(method, test.key, test.header)
			if a.status != test.status {
				t.Errorf("%s %s %v: %d %s, want %d", method, test.key, test.header, a.status, a.body, test.status)
				continue
			}
			if test.status == 400 {
				a.wantProblem(t, 400, "bad-precondition")
			} else if p := a.wantProblem(t, 412, "precondition-failed"); fmt.Sprint(p["current_revision"]) != test.current {
				t.Errorf("%s %s %v: current_revision is %v, want %v", method, test.key, test.header, p["current_revision"], test.current)
			}
		}
	}
	if a := write("PUT", "k", http.Header{"If-Match": {`"999"`, tag}}); a.status != 200 {
		t.Errorf("PUT with the ETag: %d %s", a.status, a.body)
	} else {
		tag = a.header.Get("ETag")
	}
	if a := write("PUT", "k", http.Header{"If-Match": {"*"}}); a.status != 200 {
		t.Errorf("PUT with *: %d %s", a.status, a.body)
	}
	if a := write("PUT", "fresh", http.Header{"If-None-Match": {"*"}}); a.status != 201 {
		t.Errorf("PUT to create: %d %s", a.status, a.body)
	}
	if a := write("DELETE", "k", http.Header{"If-Match": {tag}}); a.status != 200 {
		t.Errorf("DELETE with the ETag: %d %s", a.status, a.body)
	}
}

// A failed condition is reported even if the body also lacks the kind.
func TestAConditionOnASettingThatDoesNotExistComesBeforeItsKind(t *testing.T) {
	s := serve(t, nil)
	for _, token := range []string{adminToken, operatorToken} {
		for _, body := range []string{`{"value":1}`, `{"value":1,"kind":"int"}`} {
			for _, match := range []string{"*", `"1"`, `"abc"`} {
				a := s.do(t, request{
					method: "PUT", path: "/api/v1/admin/settings/absent", token: token, body: body,
					header: http.Header{"If-Match": {match}},
				})
				if p := a.wantProblem(t, 412, "precondition-failed"); p["current_revision"] != 0.0 {
					t.Errorf("PUT %s, If-Match %s: %s", body, match, a.body)
				}
			}
		}
	}
	a := s.do(t, request{
		method: "PUT", path: "/api/v1/admin/settings/absent", token: adminToken, body: `{"value":1}`,
		header: http.Header{"If-None-Match": {"*"}},
	})
	if p := a.wantProblem(t, 422, "invalid-field"); p["field"] != "kind" {
		t.Errorf("to create without a kind: %s", a.body)
	}
}

// A proxy that compresses makes our tags weak, and weak tags never match.
func TestWeakTagsAreExplained(t *testing.T) {
	s := serve(t, nil)
	tag := s.put(t, "settings/k", `{"kind":"int","value":0}`).header.Get("ETag")
	for _, method := range []string{"PUT", "DELETE"} {
		for _, test := range []struct {
			key   string
			match []string
			says  string // "": weak tags are not mentioned
		}{
			{"k", []string{"W/" + tag}, "Send " + tag + ", or turn compression off for /api/."},
			{"k", []string{`W/"998", W/"abc"`, "W/" + tag}, "Send " + tag + ","},
			{"k", []string{`"999", W/` + tag}, "Send " + tag + ","},
			{"k", []string{`W/"999"`}, "Read the setting again and send its tag without W/"},
			{"k", []string{`"999"`}, ""},
			{"absent", []string{`W/"1"`}, ""},
		} {
			a := s.do(t, request{
				method: method, path: "/api/v1/admin/settings/" + test.key, token: adminToken,
				body: map[string]string{"PUT": `{"kind":"int","value":1}`}[method], header: http.Header{"If-Match": test.match},
			})
			detail := a.wantProblem(t, 412, "precondition-failed")["detail"].(string)
			if !strings.Contains(detail, test.says) || strings.Contains(detail, "weak tags never match") != (test.says != "") {
				t.Errorf("%s %s, If-Match %q: %s", method, test.key, test.match, detail)
			}
		}
		// Here the refusal is due to If-None-Match, not to the weak tag.
		a := s.do(t, request{
			method: method, path: "/api/v1/admin/settings/k", token: adminToken, body: map[string]string{"PUT": `{"value":1}`}[method],
			header: http.Header{"If-Match": {"W/" + tag + ", " + tag}, "If-None-Match": {"*"}},
		})
		if detail := a.wantProblem(t, 412, "precondition-failed")["detail"].(string); strings.Contains(detail, "weak") {
			t.Errorf("%s with If-None-Match: %s", method, detail)
		}
	}
	// In a list, one strong tag that matches is enough.
	a := s.do(t, request{
		method: "PUT", path: "/api/v1/admin/settings/k", token: adminToken, body: `{"value":1}`,
		header: http.Header{"If-Match": {`W/"1", ` + tag}},
	})
	if a.status != 200 {
		t.Fatalf("PUT with a list: %d %s", a.status, a.body)
	}
	a = s.do(t, request{
		method: "DELETE", path: "/api/v1/admin/settings/k", token: adminToken,
		header: http.Header{"If-Match": {"W/" + tag, a.header.Get("ETag")}},
	})
	if a.status != 200 {
		t.Errorf("DELETE with a list: %d %s", a.status, a.body)
	}
}
