package httpx

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"platform-settings/settings"
)

func TestDisabledPasses(t *testing.T) {
	s := serve(t, nil)
	if a := s.get(t, "/", ""); a.status != 200 {
		t.Errorf("GET /: %d", a.status)
	}
}

func TestEnabledAnswers503(t *testing.T) {
	s := serve(t, nil)
	s.put(t, "maintenance", `{"enabled":true,"message":"Back at noon. <b>","retry_after":120}`)
	for _, method := range []string{"GET", "POST", "BREW"} {
		for _, path := range []string{"/", "/orders", "/api/v1/orders"} {
			a := s.do(t, request{method: method, path: path})
			p := a.wantProblem(t, 503, "maintenance")
			if p["detail"] != "Back at noon. <b>" || p["instance"] != path || p["until"] != nil {
				t.Errorf("%s %s: %v", method, path, p)
			}
			seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
			if err != nil || seconds < 120 || seconds > 132 || p["retry_after"] != float64(seconds) {
				t.Errorf("Retry-After is %q, the problem says %v", a.header.Get("Retry-After"), p["retry_after"])
			}
			if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Vary") != "Accept" {
				t.Errorf("%s %s: %v", method, path, a.header)
			}
		}
	}
	if a := s.do(t, request{method: "HEAD", path: "/"}); a.status != 503 || a.body != "" || a.header.Get("Retry-After") == "" {
		t.Errorf("HEAD: %d %q", a.status, a.body)
	}
	if n := testutil.ToFloat64(s.metrics.rejections); n != 10 {
		t.Errorf("%v rejections counted, want 10", n)
	}
}

func TestHealthIsExempt(t *testing.T) {
	s := serve(t, nil)
	s.put(t, "maintenance", `{"enabled":true}`)
	for _, path := range []string{"/livez", "/readyz", "/metrics", "/api/v1/maintenance", "/api/v1/settings"} {
		if a := s.get(t, path, ""); a.status != 200 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
}

func TestAdminIsExempt(t *testing.T) {
	s := serve(t, nil)
	s.put(t, "maintenance", `{"enabled":true}`)
	s.put(t, "maintenance", `{"enabled":false}`)
	if a := s.get(t, "/", ""); a.status != 200 {
		t.Errorf("GET / after it was turned off: %d", a.status)
	}
}

func TestReadOnlyLetsReadsThrough(t *testing.T) {
	address, _ := upstream(t, nil)
	s := serve(t, func(c *Config) { c.Upstream = address })
	s.put(t, "maintenance", `{"enabled":true,"read_only":true}`)
	for method, want := range map[string]int{
		"GET": 200, "HEAD": 200, "OPTIONS": 200,
		"POST": 503, "PUT": 503, "PATCH": 503, "DELETE": 503, "TRACE": 503, "BREW": 503, "get": 503,
	} {
		if a := s.do(t, request{method: method, path: "/orders"}); a.status != want {
			t.Errorf("%s: %d, want %d", method, a.status, want)
		}
	}
}

func TestTheWindowGatesAndAnnouncesItsEnd(t *testing.T) {
	s := serve(t, nil)
	s.put(t, "maintenance", `{"for":"1h","retry_after":5}`)
	a := s.get(t, "/", "")
	p := a.wantProblem(t, 503, "maintenance")
	until, err := time.Parse(time.RFC3339, p["until"].(string))
	if left := time.Until(until); err != nil || left <= 0 || left > time.Hour {
		t.Errorf("until is %v, %v", p["until"], err)
	}
	if seconds, _ := strconv.Atoi(a.header.Get("Retry-After")); float64(seconds) < time.Until(until).Seconds() || seconds > 3960 {
		t.Errorf("Retry-After is %d, the end is in %v", seconds, time.Until(until))
	}
	for _, accept := range []string{"text/html", "text/plain"} {
		a := s.do(t, request{method: "GET", path: "/", header: http.Header{"Accept": {accept}}})
		if !strings.Contains(a.body, until.Truncate(time.Second).Format(time.RFC3339)) {
			t.Errorf("%s does not say until when: %s", accept, a.body)
		}
	}

	soon := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	s.put(t, "maintenance", `{"starts_at":"`+soon+`"}`)
	if a := s.get(t, "/", ""); a.status != 200 {
		t.Errorf("before the window: %d", a.status)
	}
}

func TestTheGatesVerdictIsThatOfTheGate(t *testing.T) {
	s := serve(t, nil)
	for _, path := range []string{"/gate", "/gate/deny/401", "/gate/deny/403/orders/7?q=1"} {
		a := s.do(t, request{method: "POST", path: path})
		if a.status != 200 || a.header.Get("Cache-Control") != "no-store" || a.header.Get("Content-Type") != typeText || a.body != "open\n" {
			t.Errorf("POST %s while open: %d %v %q", path, a.status, a.header, a.body)
		}
	}

	s.put(t, "maintenance", `{"enabled":true,"read_only":true,"message":"Reads only."}`)
	for _, test := range []struct {
		method string
		header http.Header
		want   int
	}{
		{"GET", nil, 503},
		{"POST", nil, 503},
		{"GET", http.Header{"X-Forwarded-Method": {"GET"}}, 200},
		{"GET", http.Header{"X-Forwarded-Method": {"POST"}}, 503},
		{"POST", http.Header{"X-Forwarded-Method": {"GET"}}, 200}, // the header is what is asked about
		{"GET", http.Header{"X-Original-Method": {"DELETE"}}, 503},
		{"POST", http.Header{"X-Original-Method": {"HEAD"}}, 200},
		{"GET", http.Header{"X-Original-Method": {"HEAD"}}, 200},
		{"GET", http.Header{"X-Forwarded-Method": {"GET"}, "X-Original-Method": {"POST"}}, 503},
		{"GET", http.Header{"X-Forwarded-Method": {"GET", "POST"}}, 503},
		{"GET", http.Header{"X-Forwarded-Method": {"FETCH"}}, 503},
	} {
		if a := s.do(t, request{method: test.method, path: "/gate", header: test.header}); a.status != test.want {
			t.Errorf("%s %v: %d, want %d", test.method, test.header, a.status, test.want)
		}
	}

	for _, accept := range []string{"text/html", "text/plain", "*/*"} {
		header := http.Header{"Accept": {accept}}
		gate := s.do(t, request{method: "POST", path: "/", header: header})
		verdict := s.do(t, request{method: "POST", path: "/gate", header: header})
		same := func(name string) bool { return gate.header.Get(name) == verdict.header.Get(name) }
		if verdict.status != 503 || !same("Content-Type") || !same("Cache-Control") || !same("Vary") || verdict.header.Get("Retry-After") == "" {
			t.Errorf("%s: the gate says %d %v, the verdict is %d %v", accept, gate.status, gate.header, verdict.status, verdict.header)
		}
		if !strings.Contains(verdict.body, "Reads only.") {
			t.Errorf("%s: no message in %s", accept, verdict.body)
		}
	}
}

func TestAWebsocketIsRefusedToo(t *testing.T) {
	address, asked := upstream(t, nil)
	s := serve(t, func(c *Config) { c.Upstream = address })
	s.put(t, "maintenance", `{"enabled":true}`)
	s.do(t, request{method: "GET", path: "/ws", header: http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}}).wantProblem(t, 503, "maintenance")
	if asked() != nil {
		t.Error("the upstream was asked")
	}
}

// Guarantee 8: the gate costs a request that passes no allocation.
func TestPassingTheGateAllocatesNothing(t *testing.T) {
	s := serve(t, nil)
	c := s.public.NewContext(httptest.NewRequest("GET", "/", nil), httptest.NewRecorder())
	bare := func(echo.Context) error { return nil }
	gated := s.gate(bare)
	for name, prepare := range map[string]string{"open": `{"enabled":false}`, "window to come": `{"starts_at":"9000-01-01T00:00:00Z"}`, "read-only": `{"enabled":true,"read_only":true}`} {
		s.put(t, "maintenance", prepare)
		if n := testing.AllocsPerRun(1000, func() { _ = gated(c) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}

	// And over the whole chain, where Echo could wrap anew for each request.
	s.put(t, "maintenance", `{"enabled":false}`)
	s.public.group("/bare").handle("", bare)
	s.public.group("/gated", s.gate).handle("", bare)
	allocations := func(path string) float64 {
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", path, nil)
		return testing.AllocsPerRun(1000, func() {
			s.public.Router().Find(r.Method, path, c)
			c.SetResponse(echo.NewResponse(w, s.public.Echo))
			_ = c.Handler()(c)
		})
	}
	if bare, gated := allocations("/bare"), allocations("/gated"); gated != bare {
		t.Errorf("%v allocations with the gate, %v without", gated, bare)
	}
}

func TestRetryAfterIsNeverEarlyAndAtMostATenthLate(t *testing.T) {
	for in, want := range map[time.Duration][2]int64{
		time.Second:             {1, 1},
		1001 * time.Millisecond: {2, 2},
		30 * time.Second:        {30, 33},
		settings.MaxRetryAfter:  {86400, 95040},
	} {
		for range 1000 {
			if got := retryAfter(in); got < want[0] || got > want[1] {
				t.Fatalf("retryAfter(%v) = %d, want %v", in, got, want)
			}
		}
	}
}
