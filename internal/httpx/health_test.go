package httpx

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLivezDependsOnNothing(t *testing.T) {
	s := serveOn(t, newEngine(t), nil)
	if a := s.get(t, "/livez", ""); a.status != 200 || a.body != "ok\n" || a.header.Get("Content-Type") != typeText {
		t.Errorf("livez: %d %q", a.status, a.body)
	}
}

func TestReadyzFollowsTheEngine(t *testing.T) {
	engine := newEngine(t)
	s := serveOn(t, engine, nil)
	a := s.get(t, "/readyz", "")
	want := map[string]any{
		"status": "unready", "source": "default", "revision": 0.0, "age_seconds": 0.0, "listener": "connecting",
		"problems": []any{"the settings have not been read from the database yet", "listener: not listening yet, changes arrive by the poll alone"}, "pod": "pod-1",
	}
	if diff := cmp.Diff(want, a.json(t)); a.status != 503 || diff != "" {
		t.Errorf("before the first snapshot: %d (-want +got):\n%s", a.status, diff)
	}

	runEngine(t, engine)
	s.put(t, "maintenance", `{"enabled":true}`) // maintenance does not make a pod unready
	a = s.get(t, "/readyz", "")
	got := a.json(t)
	if age, ok := got["age_seconds"].(float64); !ok || age < 0 {
		t.Errorf("age_seconds is %v", got["age_seconds"])
	}
	delete(got, "age_seconds")
	want = map[string]any{"status": "ok", "source": "database", "revision": 2.0, "listener": "live", "problems": []any{}, "pod": "pod-1"}
	if diff := cmp.Diff(want, got); a.status != 200 || a.header.Get("Cache-Control") != "no-store" || diff != "" {
		t.Errorf("ready: %d (-want +got):\n%s", a.status, diff)
	}

	close(s.draining)
	a = s.get(t, "/readyz", "")
	if got := a.json(t); a.status != 503 || got["status"] != "unready" || !cmp.Equal(got["problems"], []any{"this pod is stopping"}) {
		t.Errorf("draining: %d %s", a.status, a.body)
	}
}

func TestReadyzIsDegradedWhileSomethingIsWrong(t *testing.T) {
	engine := newEngine(t)
	engine.Int("maintenance_mode", 7) // in the table it is a bool
	runEngine(t, engine)
	s := serveOn(t, engine, nil)
	a := s.get(t, "/readyz", "")
	if got := a.json(t); a.status != 200 || got["status"] != "degraded" || len(got["problems"].([]any)) != 1 {
		t.Errorf("degraded: %d %s", a.status, a.body)
	}
}

func TestMetricsCountByRouteNotByPath(t *testing.T) {
	s := serve(t, nil)
	s.get(t, "/api/v1/settings/one", "")
	s.get(t, "/api/v1/settings/two", "")
	s.do(t, request{method: "BREW", path: "/coffee"})
	s.put(t, "maintenance", `{"enabled":true}`)
	s.get(t, "/coffee", "")
	body := s.get(t, "/metrics", "").body
	for _, line := range []string{
		`http_requests_total{method="GET",route="/api/v1/settings/:key",status="4xx"} 2`,
		`http_requests_total{method="other",route="/*",status="4xx"} 1`,
		`http_requests_total{method="GET",route="/*",status="5xx"} 1`,
		`http_request_duration_seconds_count{method="PUT",route="/api/v1/admin/maintenance"} 1`,
		`http_gate_rejections_total 1`,
	} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("metrics lack %s", line)
		}
	}
	if strings.Contains(body, "coffee") || strings.Contains(body, "BREW") {
		t.Error("metrics hold what callers made up")
	}
}
