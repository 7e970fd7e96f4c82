package httpx

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/labstack/echo/v4"
)

func TestRequestsAreNamed(t *testing.T) {
	s := serveOn(t, newEngine(t), nil)
	for sent, kept := range map[string]bool{
		"abc-1.2_3": true, strings.Repeat("x", 64): true,
		"": false, strings.Repeat("x", 65): false, "a b": false, "a;b": false, "é": false,
	} {
		a := s.do(t, request{method: "GET", path: "/livez", header: http.Header{"X-Request-Id": {sent}}})
		got := a.header.Get("X-Request-ID")
		if (got == sent) != kept || !saneRequestID.MatchString(got) {
			t.Errorf("X-Request-ID %q became %q", sent, got)
		}
	}
}

func TestRequestsAreLoggedWithoutSecrets(t *testing.T) {
	s := serve(t, func(c *Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	s.do(t, request{
		method: "PUT", path: "/api/v1/admin/settings/maintenance_mode?key=hush", token: operatorToken, body: `{"value":false}`,
		header: http.Header{"X-Request-Id": {"r-1"}, "X-Forwarded-For": {"192.0.2.7"}, "Cookie": {"hush"}},
	})
	got := s.logged(t, "request", func(f map[string]any) bool { return f["request_id"] == "r-1" })
	if took, _ := got["duration"].(interface{ Nanoseconds() int64 }); took == nil || took.Nanoseconds() <= 0 {
		t.Errorf("duration is %v", got["duration"])
	}
	delete(got, "duration")
	if bytes, _ := got["bytes"].(int64); bytes <= 0 {
		t.Errorf("bytes is %v", got["bytes"])
	}
	delete(got, "bytes")
	want := map[string]any{
		"level": "info", "method": "PUT", "path": "/api/v1/admin/settings/maintenance_mode", "route": "/api/v1/admin/settings/:key",
		"status": int64(200), "client_ip": "192.0.2.7", "request_id": "r-1", "actor": "otto",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("logged (-want +got):\n%s", diff)
	}
	for _, entry := range s.logs.All() {
		if line := fmt.Sprint(entry.Message, entry.ContextMap()); strings.Contains(line, "hush") || strings.Contains(line, operatorToken) {
			t.Errorf("the log holds a secret: %s", line)
		}
	}
	for _, path := range []string{"/livez", "/readyz", "/metrics"} {
		s.get(t, path, "")
		if entry := s.logged(t, "request", func(f map[string]any) bool { return f["path"] == path }); entry["level"] != "debug" {
			t.Errorf("%s is logged at level %s", path, entry["level"])
		}
	}
}

func TestAPanicIsA500AndTheLogHasItsStack(t *testing.T) {
	s := serveOn(t, newEngine(t), nil)
	s.public.group("").handle("/panic", func(echo.Context) error { panic("secret detail") })
	a := s.get(t, "/panic", "")
	a.wantProblem(t, 500, "internal")
	if strings.Contains(a.body, "secret") || strings.Contains(a.body, ".go") {
		t.Errorf("the answer tells too much: %s", a.body)
	}
	entry := s.logged(t, "panic", func(f map[string]any) bool { return f["panic"] == "secret detail" })
	if !strings.Contains(fmt.Sprint(entry["stack"]), "middleware_test.go") {
		t.Errorf("logged stack: %v", entry["stack"])
	}
	s.logged(t, "request", func(f map[string]any) bool { return f["path"] == "/panic" && f["status"] == int64(500) })

	s.public.group("").handle("/late", func(c echo.Context) error {
		_, _ = io.WriteString(c.Response(), strings.Repeat("x", 1<<16))
		panic("secret detail")
	})
	res, err := http.Get(s.address + "/late")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("an answer that broke off looks whole: %d bytes", len(body))
	}
}

func TestOwnAnswersAreNotSniffed(t *testing.T) {
	s := serve(t, nil)
	for _, path := range []string{"/", "/livez", "/readyz", "/metrics", "/gate", "/api/v1/maintenance", "/api/v1/settings", "/nothing", "/api/v1/admin"} {
		if got := s.get(t, path, "").header.Get("X-Content-Type-Options"); got != "nosniff" {
			t.Errorf("%s: X-Content-Type-Options is %q", path, got)
		}
	}
}

// deadlines records the deadlines that a handler sets on its connection.
type deadlines struct {
	*httptest.ResponseRecorder
	read, write []time.Time
}

func (d *deadlines) SetReadDeadline(at time.Time) error {
	d.read = append(d.read, at)
	return nil
}

func (d *deadlines) SetWriteDeadline(at time.Time) error {
	d.write = append(d.write, at)
	return nil
}

func TestOnlyOwnRoutesAreBounded(t *testing.T) {
	address, _ := upstream(t, nil)
	s := serve(t, func(c *Config) { c.Upstream = address })
	in := func(at []time.Time, i int) time.Duration { return time.Until(at[i]).Round(5 * time.Second) }
	ask := func(method, path, body string) *deadlines {
		d := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+adminToken)
		s.Handler().ServeHTTP(d, r)
		if d.Code != 200 {
			t.Fatalf("%s %s: %d %s", method, path, d.Code, d.Body)
		}
		return d
	}
	if d := ask("GET", "/livez", ""); len(d.read) != 0 || len(d.write) != 1 || in(d.write, 0) != answerTimeout {
		t.Errorf("without a body: %+v", d)
	}
	// Once the body has arrived, its deadline must not end the write that follows.
	if d := ask("PUT", "/api/v1/admin/maintenance", `{"enabled":false}`); len(d.read) != 2 || in(d.read, 0) != bodyWait || !d.read[1].IsZero() {
		t.Errorf("with a body: %+v", d)
	}
	// The connection may have deadlines from a request to one of our own routes. They
	// are cleared: here the caller has a pace, which runs only while we wait for it.
	d := ask("POST", "/orders", "order")
	if last := len(d.read) - 1; last < 2 || !d.read[0].IsZero() || in(d.read, 1) != uploading.patience || !d.read[last].IsZero() {
		t.Errorf("the body on its way to the upstream: %v", d.read)
	}
	if last := len(d.write) - 1; last < 1 || !d.write[0].IsZero() || in(d.write, last) != downloading.patience {
		t.Errorf("the upstream's answer: %v", d.write)
	}
}
