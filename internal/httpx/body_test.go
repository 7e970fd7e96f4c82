package httpx

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/labstack/echo/v4"
)

func TestBodiesAreReadStrictly(t *testing.T) {
	s := serve(t, nil)
	s.put(t, "settings/s", `{"kind":"text","value":"before"}`)
	for _, test := range []struct {
		body   string
		status int
		slug   string
		says   string // part of the detail
		field  any
	}{
		{``, 400, "malformed-body", "is empty", nil},
		{` `, 400, "malformed-body", "unexpected end", nil},
		{`value=1`, 400, "malformed-body", "invalid character", nil},
		{"\ufeff" + `{"value":"x"}`, 400, "malformed-body", "invalid character", nil},
		{`{"value":"x"`, 400, "malformed-body", "unexpected end", nil},
		{`{"value":"x",}`, 400, "malformed-body", "invalid character", nil},
		{`{"value":01}`, 400, "malformed-body", "invalid character", nil},
		{`{'value':'x'}`, 400, "malformed-body", "invalid character", nil},
		{`{"value":"x"} {}`, 400, "malformed-body", "after top-level value", nil},
		{`{"value":"x"}]`, 400, "malformed-body", "after top-level value", nil},
		{`[{"value":"x"}]`, 400, "malformed-body", "not an object", nil},
		{`"value"`, 400, "malformed-body", "not an object", nil},
		{`null`, 400, "malformed-body", "not an object", nil},
		{`1e999`, 400, "malformed-body", "not an object", nil},
		{"{\"value\":\"\xff\"}", 400, "malformed-body", "not UTF-8", nil},
		{"{\"value\":\"\xed\xa0\x80\"}", 400, "malformed-body", "not UTF-8", nil},
		{`{"value":"\ud800"}`, 400, "malformed-body", "not a character by itself", nil},
		{`{"value":"\uDC00x"}`, 400, "malformed-body", "not a character by itself", nil},
		{`{"value":"\ud83d\ud83d"}`, 400, "malformed-body", "not a character by itself", nil},
		{`{"value":"\ud83d\n"}`, 400, "malformed-body", "not a character by itself", nil},
		{`{"value":{"nested":["\ud83d"]}}`, 400, "malformed-body", "not a character by itself", nil},
		{`{"value":"x","colour":1}`, 400, "unknown-field", `"colour"`, nil},
		{`{"Value":"x"}`, 400, "unknown-field", `"Value"`, nil},
		{`{"value":"x","":1}`, 400, "unknown-field", `""`, nil},
		{`{"value":"x","` + strings.Repeat("y", 1000) + `":1}`, 400, "unknown-field", `yyy" is unknown`, nil},
		{`{"value":"x","value":"y"}`, 400, "repeated-field", `"value" appears twice`, "value"},
		{`{"value":"x","v\u0061lue":"y"}`, 400, "repeated-field", `"value" appears twice`, "value"},
		{`{"value":"x","reason":1}`, 422, "invalid-field", `"reason" must be a string`, "reason"},
		{`{"value":"x","public":"yes"}`, 422, "invalid-field", `"public" must be true or false`, "public"},
		{`{"value":"x","reason":"` + strings.Repeat("r", 1025) + `"}`, 422, "invalid-field", "1024 bytes", "reason"},
		{`{"reason":"x"}`, 422, "invalid-field", `"value" is required`, "value"},
		{`{"value":null}`, 422, "invalid-field", `must be a string`, "value"},
		{strings.Repeat("[", 20000), 400, "malformed-body", "exceeded max depth", nil},
		{`{"value":"` + strings.Repeat("x", 1<<20) + `"}`, 413, "body-too-large", "1048576", nil},
	} {
		a := s.do(t, request{
			method: "PUT", path: "/api/v1/admin/settings/s", token: adminToken,
			body: test.body, header: http.Header{"Content-Type": {"application/json"}},
		})
		if a.status != test.status {
			t.Errorf("%.60q: %d %s, want %d", test.body, a.status, a.body, test.status)
			continue
		}
		p := a.wantProblem(t, test.status, test.slug)
		if !strings.Contains(p["detail"].(string), test.says) || p["field"] != test.field || len(a.body) > 1000 {
			t.Errorf("%.60q: %s, want %q", test.body, a.body, test.says)
		}
		if test.slug == "unknown-field" {
			if diff := cmp.Diff([]any{"value", "kind", "description", "public", "reason"}, p["known_fields"]); diff != "" {
				t.Errorf("known fields (-want +got):\n%s", diff)
			}
		}
	}
	if v := s.get(t, "/api/v1/settings/s", viewerToken).json(t)["value"]; v != "before" {
		t.Errorf("a refused body changed the value to %v", v)
	}
}

func TestTextsArriveAsTheyWereSent(t *testing.T) {
	s := serve(t, nil)
	for _, want := range []string{
		"", "é\U0001F600\u2028\"\\/\t", `\ud800`, `\\ud800`, "<script>&amp;", "\ufffd",
		strings.Repeat("\u0001", 64<<10), // each is six bytes long when escaped
	} {
		body, err := json.Marshal(map[string]string{"kind": "text", "value": want})
		if err != nil {
			t.Fatal(err)
		}
		s.put(t, "settings/text", string(body))
		if got := s.get(t, "/api/v1/settings/text", viewerToken).json(t)["value"]; got != want {
			t.Errorf("%.40q became %.40q", want, got)
		}
	}
	s.put(t, "settings/text", `{"value":"\ud83d\ude00\uD83D\uDE00"}`)
	if got := s.get(t, "/api/v1/settings/text", viewerToken).json(t)["value"]; got != "\U0001F600\U0001F600" {
		t.Errorf("a surrogate pair became %q", got)
	}
}

func TestContentTypesOfABody(t *testing.T) {
	s := serve(t, nil)
	for contentType, want := range map[string]int{
		"application/json": 200, "Application/JSON; charset=utf-8": 200, "application/merge-patch+json": 200, "": 200,
		"text/plain": 415, "application/x-www-form-urlencoded": 415, "application/jsonp": 415, "json": 415, ";": 415,
	} {
		r := httptest.NewRequest("PUT", "/api/v1/admin/maintenance", strings.NewReader(`{"enabled":false}`))
		r.Header.Set("Authorization", "Bearer "+adminToken)
		if contentType != "" {
			r.Header.Set("Content-Type", contentType)
		}
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%q: %d, want %d: %s", contentType, w.Code, want, w.Body)
		}
		if want == 415 {
			answer{w.Code, w.Header(), w.Body.String()}.wantProblem(t, 415, "unsupported-media-type")
		}
	}
}

func TestABodyThatComesTooSlowlyIs408(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	read := func(c echo.Context) error {
		_ = far.SetReadDeadline(time.Now()) // bounded sets the same deadline, only later
		c.Request().Body = far
		_, err := receive(c)
		return err
	}
	err := read(echo.New().NewContext(httptest.NewRequest("PUT", "/", nil), httptest.NewRecorder()))
	if p := problemOf(err); p.Status != 408 || !strings.Contains(p.Detail, fmt.Sprint(bodyWait)) {
		t.Errorf("problem is %d %s", p.Status, p.Detail)
	}
}

func TestABodyThatBreaksOffChangesNothing(t *testing.T) {
	s := serve(t, nil)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.address, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "PUT /api/v1/admin/maintenance HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 100\r\n\r\n{\"enabled\":true}", adminToken)
	_ = conn.(*net.TCPConn).CloseWrite()
	s.logged(t, "request", func(f map[string]any) bool { return f["status"] == int64(400) })
	if s.engine.Maintenance().Enabled {
		t.Error("maintenance is on")
	}
}

func TestAnEncodedBodyIsNotRead(t *testing.T) {
	s := serve(t, nil)
	s.do(t, request{
		method: "PUT", path: "/api/v1/admin/maintenance", token: adminToken, body: `{"enabled":true}`,
		header: http.Header{"Content-Encoding": {"gzip"}},
	}).wantProblem(t, 415, "unsupported-media-type")
}
