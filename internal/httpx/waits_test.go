package httpx

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"platform-settings/test/pgtest"
)

// crowd starts n waiting reports with each token; release ends them.
func (s *service) crowd(t *testing.T, n int, tokens ...string) (release func()) {
	t.Helper()
	var waiting sync.WaitGroup
	before := s.waitsUnderWay(reportWait)
	for _, token := range tokens {
		for range n {
			waiting.Go(func() {
				a := s.do(t, request{method: "GET", path: "/api/v1/admin/fleet?revision=1", token: token, header: wait("60")})
				if a.status != 200 && a.status != 503 { // 503: the last look at the register took too long
					t.Errorf("one of the crowd: %d %s", a.status, a.body)
				}
			})
		}
	}
	want := before + n*len(tokens)
	for deadline := time.Now().Add(patience); s.waitsUnderWay(reportWait) != want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d wait, want %d", s.waitsUnderWay(reportWait), want)
		}
	}
	return sync.OnceFunc(func() {
		close(s.draining) // ends all waits
		waiting.Wait()
		s.wantNoReportWaiting(t)
	})
}

func (s *service) wantNoReportWaiting(t *testing.T) {
	t.Helper()
	s.waits.mu.Lock()
	defer s.waits.mu.Unlock()
	if s.waits.reports != 0 || len(s.waits.byName) != 0 || s.waitsUnderWay(reportWait) != 0 {
		t.Errorf("places were not given back: %d, %v", s.waits.reports, s.waits.byName)
	}
}

func (s *service) waitsUnderWay(kind string) int {
	return int(testutil.ToFloat64(s.metrics.waits.WithLabelValues(kind)))
}

func (s *service) refused(kind string) int {
	return int(testutil.ToFloat64(s.metrics.waitsRefused.WithLabelValues(kind)))
}

// wantTooManyWaits checks a refusal.
func (a answer) wantTooManyWaits(t *testing.T) {
	t.Helper()
	a.wantProblem(t, 429, "too-many-waits")
	if a.header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After is %q", a.header.Get("Retry-After"))
	}
}

var waitingReport = request{method: "GET", path: "/api/v1/admin/fleet?revision=1", token: viewerToken, header: wait("60")}

func TestOneNameMayHaveAHundredReportsWaiting(t *testing.T) {
	s, conn := withStranger(t)
	pgtest.Exec(t, conn, `UPDATE settings_members SET ttl = '1 hour' WHERE pod = 'pod-2'`) // so that it is not lost during the test
	release := s.crowd(t, maxReportWaitsByName, viewerToken)
	defer release()
	s.do(t, waitingReport).wantTooManyWaits(t)
	if n := s.refused(reportWait); n != 1 {
		t.Errorf("counted %d refusals", n)
	}
	// Reports that do not wait, callers with another name, and writes are not refused.
	for _, header := range []http.Header{nil, wait("0")} {
		if a := s.do(t, request{method: "GET", path: waitingReport.path, token: viewerToken, header: header}); a.status != 200 {
			t.Errorf("Prefer %v: %d %s", header, a.status, a.body)
		}
	}
	if a := s.do(t, request{method: "GET", path: waitingReport.path, token: operatorToken, header: wait("1")}); a.status != 200 {
		t.Errorf("another token: %d %s", a.status, a.body)
	}
	a := s.do(t, request{method: "PUT", path: "/api/v1/admin/maintenance", token: operatorToken, body: `{"enabled":true}`, header: wait("1")})
	if a.status != 202 || !strings.Contains(fmt.Sprint(a.json(t)["note"]), "pod-2") {
		t.Errorf("a write: %d %s", a.status, a.body)
	}

	// A report that is answered makes room for another.
	pgtest.Exec(t, conn, `SELECT settings_leave(instance) FROM settings_members WHERE pod = 'pod-2'`)
	for deadline := time.Now().Add(patience); s.waitsUnderWay(reportWait) != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d wait on", s.waitsUnderWay(reportWait))
		}
	}
	if a := s.do(t, waitingReport); a.status != 200 || a.json(t)["converged"] != true {
		t.Errorf("when there is room: %d %s", a.status, a.body)
	}
}

func TestAPodHasAThousandReportsWaiting(t *testing.T) {
	var entries, tokens []string
	for i := range maxReportWaits/maxReportWaitsByName + 1 {
		tokens = append(tokens, fmt.Sprintf("crowd-token-%026d", i))
		entries = append(entries, fmt.Sprintf("crowd-%d:viewer:%s", i, tokens[i]))
	}
	database := pgtest.Database(t)
	engine := newEngineOn(t, database)
	runEngine(t, engine)
	pgtest.Exec(t, pgtest.Connect(t, database), `SELECT settings_join(gen_random_uuid(), 'pod-2', 'test', clock_timestamp(), '1 hour', NULL)`)
	s := serveOn(t, engine, func(c *Config) {
		c.Tokens = loadTokens(t, strings.Join(entries, ",")+",otto:operator:"+operatorToken, "")
	})

	last := len(tokens) - 1
	release := s.crowd(t, maxReportWaitsByName, tokens[:last]...)
	defer release()
	late := waitingReport
	late.token = tokens[last]
	s.do(t, late).wantTooManyWaits(t)
	late.header = nil
	if a := s.do(t, late); a.status != 200 {
		t.Errorf("a report that does not wait: %d %s", a.status, a.body)
	}
	a := s.do(t, request{method: "PUT", path: "/api/v1/admin/maintenance", token: operatorToken, body: `{"enabled":true}`, header: wait("1")})
	if a.status != 202 || !s.engine.Maintenance().Enabled || s.refused(writeWait) != 0 {
		t.Errorf("a write: %d %s", a.status, a.body)
	}
}

func TestAWriteThatMayNotWaitIsMadeAllTheSame(t *testing.T) {
	s := serve(t, nil)
	var places []func()
	for range maxWriteWaits {
		giveBack, ok := s.waits.write()
		if !ok {
			t.Fatal("no place is left")
		}
		places = append(places, giveBack)
	}
	put := request{method: "PUT", path: "/api/v1/admin/maintenance", token: operatorToken, body: `{"enabled":true}`, header: wait("60")}
	a := s.do(t, put)
	body := a.json(t)
	if a.status != 202 || a.header.Get("Preference-Applied") != "" || body["revision"] != 2.0 || body["fleet"] == nil {
		t.Errorf("%d %v %s", a.status, a.header, a.body)
	}
	if note := fmt.Sprint(body["note"]); !strings.Contains(note, "committed as revision 2") || !strings.Contains(note, "did not wait") || !strings.Contains(note, "/api/v1/admin/fleet?revision=2") {
		t.Errorf("note: %q", note)
	}
	if !s.engine.Maintenance().Enabled || s.refused(writeWait) != 1 {
		t.Errorf("in force: %v; counted %d", s.engine.Maintenance().Enabled, s.refused(writeWait))
	}
	if a := s.put(t, "maintenance", `{"enabled":false}`); a.status != 200 || s.refused(writeWait) != 1 {
		t.Errorf("a write that does not wait: %d %s", a.status, a.body)
	}
	places[0]()
	if a := s.do(t, put); a.status != 200 || a.header.Get("Preference-Applied") != "wait=60" {
		t.Errorf("when there is room: %d %s", a.status, a.body)
	}
}

func TestARevisionThatDoesNotExistIsToldAtOnce(t *testing.T) {
	s, conn := withStranger(t)
	for _, header := range []http.Header{nil, wait("60")} {
		p := s.do(t, request{method: "GET", path: "/api/v1/admin/fleet?" + url.Values{"revision": {"999999999"}}.Encode(), token: viewerToken, header: header}).
			wantProblem(t, 422, "no-such-revision")
		if p["current_revision"] != 1.0 || !strings.Contains(p["detail"].(string), "999999999") || !strings.Contains(p["detail"].(string), "last one is 1") {
			t.Errorf("%v", p)
		}
	}
	s.wantNoReportWaiting(t)

	// If a write was lost, its note says so instead of claiming that it is committed.
	s.put(t, "maintenance", `{"enabled":true}`)
	pgtest.Exec(t, conn, `UPDATE settings_head SET revision = 1`) // as if a failover had lost the write
	fleet, err := s.engine.AwaitWrite(t.Context(), 2)
	note := noteOf(2, fleetOf(fleet, err), err, true, false)
	if !strings.Contains(note, "revision 2") || !strings.Contains(note, "is 1 now") || strings.Contains(note, "is committed") || fleet.Converged {
		t.Errorf("%q, %+v", note, fleet)
	}
}
