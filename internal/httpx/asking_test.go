package httpx

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestProxiesThatTakeA503ForAFailureAreAnsweredWithADenial(t *testing.T) {
	s := serve(t, nil)
	paths := []string{"/gate/deny/401", "/gate/deny/403", "/gate/deny/403/", "/gate/deny/401/orders/7", "/gate/deny/403/a//b/../c%2Fd?x=/gate&_method=GET"}
	for _, path := range paths {
		if a := s.get(t, path, ""); a.status != 200 {
			t.Errorf("%s while open: %d", path, a.status)
		}
	}
	s.put(t, "maintenance", `{"enabled":true,"message":"Back at ten","retry_after":100}`)
	for _, path := range paths {
		want := 403
		if strings.Contains(path, "401") {
			want = 401
		}
		a := s.get(t, path, "")
		if p := a.wantProblem(t, want, "maintenance"); p["detail"] != "Back at ten" || a.header.Get("Retry-After") == "" || a.header.Get("WWW-Authenticate") != "" {
			t.Errorf("%s: %v %s", path, a.header, a.body)
		}
	}
	for _, path := range []string{"/gate/deny", "/gate/deny/", "/gate/deny/500", "/gate/deny/503", "/gate/deny/200", "/gate/deny/4030", "/gate/deny/403x", "/gate/deny/403%2Fx", "/gate/", "/gate/allow/403"} {
		if a := s.get(t, path, ""); a.status != 404 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
}

func TestWhatIsAskedAboutIsTheHeadersMethod(t *testing.T) {
	s := serve(t, nil)
	s.put(t, "maintenance", `{"enabled":true,"read_only":true}`)
	h := func(pairs ...string) http.Header {
		h := http.Header{}
		for i := 0; i < len(pairs); i += 2 {
			h[pairs[i]] = append(h[pairs[i]], pairs[i+1])
		}
		return h
	}
	for _, test := range []struct {
		method, path string
		header       http.Header
		passes       bool
	}{
		{"GET", "/gate/deny/403", nil, false},  // as nginx asks, which says GET whatever it is about
		{"GET", "/gate/deny/403/", nil, false}, // nothing is appended
		{"GET", "/gate/deny/403/orders", nil, true},
		{"HEAD", "/gate/deny/401/orders", nil, true},
		{"DELETE", "/gate/deny/403/orders", nil, false},
		{"DELETE", "/gate/deny/403/orders", h("X-Forwarded-Method", "GET"), true},
		{"GET", "/gate/deny/403/orders", h("X-Forwarded-Method", "DELETE"), false},
		{"GET", "/gate/deny/403", h("X-Original-Method", "GET"), true},
		{"GET", "/gate/deny/403", h("X-Original-Method", "OPTIONS"), true},
		{"GET", "/gate/deny/403", h("X-Original-Method", "GET", "X-Original-Method", "PATCH"), false},
		{"GET", "/gate/deny/403", h("X-Original-Method", "GET", "X-Forwarded-Method", "PATCH"), false},
		{"GET", "/gate", h("X-Forwarded-Method", ""), false},
		{"GET", "/gate", h("X-Forwarded-Method", "GET", "Upgrade", "websocket"), false},
		{"GET", "/gate", h("X-Forwarded-Method", "GET", "Upgrade", "h2c"), false}, // whoever asks passes on what the visitor sent
		{"GET", "/gate", h("X-Forwarded-Method", "GET", "Upgrade", ""), false},
		{"GET", "/gate", h("X-Forwarded-Method", "GET", "Http2-Settings", "AAMAAABk"), true}, // nothing without Upgrade
		{"GET", "/gate/deny/403/orders", h("Upgrade", "TLS/1.2"), false},
		{"GET", "/gate", h("X-Forwarded-Method", "GET", "Sec-Websocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), false}, // what Traefik leaves of a handshake
		{"GET", "/gate", h("X-Forwarded-Method", "GET", "X-Http-Method-Override", "DELETE"), false},
		{"GET", "/gate", h("X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/orders/7?_method=DELETE"), false},
		{"GET", "/gate", h("X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/orders/7?q=2"), true},
		{"GET", "/gate", h("X-Forwarded-Method", "GET", "X-Original-Uri", "/orders/7?%2E_method[x=DELETE"), false},
		{"GET", "/gate", h("X-Forwarded-Method", "GET", "X-Original-Uri", "/orders/7?$httpMethod=DELETE"), false},
		{"GET", "/gate?_method=DELETE", h("X-Forwarded-Method", "GET"), true}, // its own query is not looked at
	} {
		a := s.do(t, request{method: test.method, path: test.path, header: test.header})
		if passes := a.status == 200; passes != test.passes {
			t.Errorf("%s %s %v: %d", test.method, test.path, test.header, a.status)
		}
	}
}

func TestThePageIsTheRefusalWhateverTheGateSays(t *testing.T) {
	s := serve(t, nil)
	for _, state := range []string{`{"enabled":false}`, `{"enabled":true,"message":"Back at ten"}`, `{"enabled":true,"read_only":true,"message":"Back at ten"}`} {
		s.put(t, "maintenance", state)
		for _, method := range []string{"GET", "POST", "DELETE", "BREW"} {
			for accept, contentType := range map[string]string{"text/html": typeHTML, "text/plain": typeText, "*/*": typeProblem} {
				a := s.do(t, request{method: method, path: "/api/v1/maintenance/page?x", header: http.Header{"Accept": {accept}}})
				if a.status != 503 || a.header.Get("Content-Type") != contentType || a.header.Get("Retry-After") == "" || a.header.Get("Cache-Control") != "no-store" ||
					strings.Contains(state, "Back") && !strings.Contains(a.body, "Back at ten") {
					t.Errorf("%s with %s, %s: %d %v %s", method, accept, state, a.status, a.header, a.body)
				}
			}
		}
	}
}

// The answers are made of pieces, and must be what the whole would be.
func TestARefusalIsAWholeProblemInEveryForm(t *testing.T) {
	s := serve(t, nil)
	message := "Back \"soon\" <b>&amp; \\ é\u2028\n" + strings.Repeat("x", 60<<10)
	s.put(t, "maintenance", fmt.Sprintf(`{"for":"1h","message":%s}`, jsonString(message)))
	first := s.do(t, request{method: "POST", path: "/a%2Fb/'(%C3%A9)?q"})
	p := first.wantProblem(t, 503, "maintenance")
	if p["detail"] != message || p["instance"] != "/a%2Fb/'(%C3%A9)" || p["until"] == nil || p["title"] != "Under maintenance" {
		t.Errorf("the problem is %.300s", first.body)
	}
	// Another revision with the same words is another refusal; the same one is shared.
	if one, two := s.door.refusal(s.engine.Maintenance(), false), s.door.refusal(s.engine.Maintenance(), false); one != two {
		t.Error("each caller has a refusal encoded for itself")
	}
	before := s.door.refusal(s.engine.Maintenance(), false)
	s.put(t, "maintenance", `{"enabled":true,"message":"Back later"}`)
	if p := s.get(t, "/", "").wantProblem(t, 503, "maintenance"); p["detail"] != "Back later" || p["until"] != nil {
		t.Errorf("after another message: %v", p)
	}
	if s.door.refusal(s.engine.Maintenance(), false) == before {
		t.Error("the old refusal is still handed out")
	}
}
