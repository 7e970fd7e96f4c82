package httpx

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// Every route and its guard, tested from outside.
func TestRolesMayWhatTheyMay(t *testing.T) {
	address, _ := upstream(t, nil)
	s := serve(t, func(c *Config) { c.Upstream = address })
	s.put(t, "settings/shown", `{"kind":"int","value":1,"public":true}`)
	s.put(t, "settings/hidden", `{"kind":"int","value":1}`)

	const off = `{"enabled":false}`
	for _, route := range []struct {
		request string
		body    string
		// the status without a token, with a wrong one, and for viewer, operator and admin
		want [5]int
	}{
		{"GET /livez", "", [5]int{200, 200, 200, 200, 200}},
		{"GET /readyz", "", [5]int{200, 200, 200, 200, 200}},
		{"GET /metrics", "", [5]int{200, 200, 200, 200, 200}},
		{"GET /gate", "", [5]int{200, 200, 200, 200, 200}},
		{"GET /gate/orders", "", [5]int{404, 404, 404, 404, 404}},
		{"POST /gate/deny/403/orders", "", [5]int{200, 200, 200, 200, 200}},
		{"GET /gate/deny/401", "", [5]int{200, 200, 200, 200, 200}},
		{"GET /gate/deny/500", "", [5]int{404, 404, 404, 404, 404}},
		{"GET /api/v1/maintenance/page", "", [5]int{503, 503, 503, 503, 503}},
		{"GET /api/v1/maintenance", "", [5]int{200, 200, 200, 200, 200}},
		{"GET /api/v1/settings", "", [5]int{200, 401, 200, 200, 200}},
		{"GET /api/v1/settings/shown", "", [5]int{200, 401, 200, 200, 200}},
		{"GET /api/v1/settings/hidden", "", [5]int{404, 401, 200, 200, 200}},
		{"GET /api/v1/settings/absent", "", [5]int{404, 401, 404, 404, 404}},
		{"GET /api/v1/admin", "", [5]int{401, 401, 404, 404, 404}},
		{"GET /api/v1/admin/", "", [5]int{401, 401, 404, 404, 404}},
		{"GET /api/v1/admin/nothing", "", [5]int{401, 401, 404, 404, 404}},
		{"GET /api/v1/admin/settings", "", [5]int{401, 401, 404, 404, 404}},
		{"GET /api/v1/admin/settings/hidden/more", "", [5]int{401, 401, 404, 404, 404}},
		{"POST /api/v1/admin/maintenance", off, [5]int{401, 401, 405, 405, 405}},
		{"GET /api/v1/admin/maintenance", "", [5]int{401, 401, 200, 200, 200}},
		{"PUT /api/v1/admin/maintenance", off, [5]int{401, 401, 403, 200, 200}},
		{"GET /api/v1/admin/settings/hidden", "", [5]int{401, 401, 200, 200, 200}},
		{"GET /api/v1/admin/settings/absent", "", [5]int{401, 401, 404, 404, 404}},
		{"PUT /api/v1/admin/settings/hidden", `{"value":2}`, [5]int{401, 401, 403, 200, 200}},
		{"PUT /api/v1/admin/settings/hidden", `{"value":2,"description":"d"}`, [5]int{401, 401, 403, 200, 200}},
		{"PUT /api/v1/admin/settings/hidden", `{"value":2,"public":false}`, [5]int{401, 401, 403, 403, 200}},
		{"PUT /api/v1/admin/settings/fresh", `{"value":2,"kind":"int"}`, [5]int{401, 401, 403, 403, 201}},
		{"PUT /api/v1/admin/settings/fresh2", `{"value":2}`, [5]int{401, 401, 403, 403, 422}},
		{"DELETE /api/v1/admin/settings/fresh", "", [5]int{401, 401, 403, 403, 200}},
		{"GET /orders", "", [5]int{200, 200, 200, 200, 200}}, // on the platform's paths, tokens are its own business
	} {
		method, path, _ := strings.Cut(route.request, " ")
		for i, token := range []string{"", wrongToken, viewerToken, operatorToken, adminToken} {
			a := s.do(t, request{method: method, path: path, token: token, body: route.body})
			if a.status != route.want[i] {
				t.Errorf("%s %s with token %.8q: %d, want %d: %s", route.request, route.body, token, a.status, route.want[i], a.body)
			}
		}
	}
}

func TestServeFinishesWhatIsInFlightAndIsUnreadyMeanwhile(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	address, _ := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		_, _ = io.WriteString(w, "done")
	})
	s := serve(t, func(c *Config) { c.Upstream = address })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	finish := sync.OnceFunc(func() { close(release) })
	defer finish()
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, Lines{Public: listener}) }()

	type result struct {
		body string
		err  error
	}
	finished := make(chan result, 1)
	go func() {
		res, err := http.Get("http://" + listener.Addr().String() + "/slow")
		if err != nil {
			finished <- result{err: err}
			return
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		finished <- result{string(body), err}
	}()
	<-arrived
	stop()
	for deadline := time.Now().Add(patience); s.get(t, "/readyz", "").status != http.StatusServiceUnavailable; {
		if time.Now().After(deadline) {
			t.Fatal("readyz never said unready")
		}
	}
	select {
	case err := <-served:
		t.Fatalf("Serve returned %v with a request in flight", err)
	default:
	}
	finish()
	if r := <-finished; r.err != nil || r.body != "done" {
		t.Errorf("the request in flight got %q, %v", r.body, r.err)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := net.Dial("tcp", listener.Addr().String()); err == nil {
		t.Error("it still listens")
	}
}

func TestServeSaysWhenItCannot(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	if err := serveOn(t, newEngine(t), nil).Serve(t.Context(), Lines{Public: listener}); err == nil {
		t.Error("Serve on a closed listener returned nil")
	}
}
