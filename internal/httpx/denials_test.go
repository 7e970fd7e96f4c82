package httpx

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func TestALimiterAllowsABurstAndThenOneInEachInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l limiter
		// flood makes many attempts in a given time. For each allowed one it returns
		// how many were suppressed before it.
		flood := func(times int, while time.Duration) (suppressed []int) {
			for range times {
				if n, ok := l.allow(time.Now()); ok {
					suppressed = append(suppressed, n)
				}
				time.Sleep(while / time.Duration(times))
			}
			return suppressed
		}
		burst := make([]int, limiterBurst)
		if diff := cmp.Diff(append(burst, 90, 99), flood(300, 3*limiterInterval)); diff != "" {
			t.Errorf("300 in three intervals (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]int{99}, flood(1, limiterInterval)); diff != "" {
			t.Errorf("one after that (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]int{0, 0, 0}, flood(3, 3*limiterInterval)); diff != "" {
			t.Errorf("one in each interval (-want +got):\n%s", diff)
		}
		time.Sleep(time.Hour)
		if diff := cmp.Diff(burst, flood(100, 0)); diff != "" {
			t.Errorf("after a rest (-want +got):\n%s", diff)
		}
	})
}

// lines is a log in the form in which a pod writes it.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestTheLogOfDeniedRequestsIsBounded(t *testing.T) {
	var log lines
	s := serve(t, func(c *Config) {
		c.Log = zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(&log), zapcore.InfoLevel))
	})
	const many, bound = 3450, 50_000
	began := time.Now()
	for i := range many {
		r := httptest.NewRequest(strings.Repeat("M", 4<<10), "/api/v1/admin/fleet?"+strings.Repeat("x", 1<<10), nil)
		r.Header.Set("Authorization", "Bearer "+wrongToken)
		if i%2 == 0 {
			r.Header.Del("Authorization")
		}
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if w.Code != 401 {
			t.Fatalf("answer %d: %s", w.Code, w.Body)
		}
	}
	s.get(t, "/api/v1/admin/fleet", wrongToken)
	took := time.Since(began)
	denied := func(reason string) int { return strings.Count(log.String(), `"reason":"`+reason+`"`) }
	for _, reason := range []string{denialMissing, denialInvalid} {
		if n := denied(reason); n < limiterBurst || n > limiterBurst+1+int(took/limiterInterval) {
			t.Errorf("%d lines about %s tokens in %v", n, reason, took)
		}
	}
	if n := len(log.String()); n > bound*(1+int(took/patience)) { // on a slow machine there is more time to write lines
		t.Errorf("%d bytes of log in %v for %d requests that were denied:\n%.2000s", n, took, many, log.String())
	}

	// The flood does not hide the denial of a role that is too low.
	s.do(t, request{method: "DELETE", path: "/api/v1/admin/settings/maintenance_mode", token: operatorToken}).wantProblem(t, 403, "forbidden")
	if got := log.String(); !strings.Contains(got, `"reason":"role","status":403,"caller":"otto"`) {
		t.Errorf("the log lacks the denial by role: %s", got)
	}
	metrics := s.get(t, "/metrics", "").body
	for _, line := range []string{
		`http_denied_total{reason="missing"} 1725`, `http_denied_total{reason="invalid"} 1726`, `http_denied_total{reason="role"} 1`,
	} {
		if !strings.Contains(metrics, line+"\n") {
			t.Errorf("/metrics lacks %s", line)
		}
	}
}

func TestADeniedRequestHasOneLineInTheLog(t *testing.T) {
	s := serve(t, nil)
	s.get(t, "/api/v1/admin/fleet", "")
	got := s.logged(t, "denied", func(f map[string]any) bool { return f["reason"] == denialMissing })
	delete(got, "request_id")
	delete(got, "detail")
	want := map[string]any{
		"level": "warn", "reason": "missing", "status": int64(401), "caller": "anonymous", "client_ip": "127.0.0.1",
		"method": "GET", "path": "/api/v1/admin/fleet", "route": "/api/v1/admin/fleet", "suppressed": int64(0),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("logged (-want +got):\n%s", diff)
	}
	if level := s.logged(t, "request", func(f map[string]any) bool { return f["status"] == int64(401) })["level"]; level != "debug" {
		t.Errorf("its other line is at level %s", level)
	}
}

// If the platform itself denies a request, it is logged like any other request.
func TestWhatTheUpstreamDeniesIsLoggedAsARequest(t *testing.T) {
	address, _ := upstream(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	s := serve(t, func(c *Config) { c.Upstream = address })
	s.get(t, "/orders", "")
	if level := s.logged(t, "request", func(f map[string]any) bool { return f["status"] == int64(403) })["level"]; level != "info" {
		t.Errorf("it is logged at level %s", level)
	}
	if got := s.get(t, "/metrics", "").body; !strings.Contains(got, `http_denied_total{reason="role"} 0`) {
		t.Errorf("it is counted as ours: %s", got)
	}
}
