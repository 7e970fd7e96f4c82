package httpx

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"platform-settings/settings"
	"platform-settings/test/pgtest"
)

// withStranger serves a pod on a database in which another pod is registered that
// has no process.
func withStranger(t *testing.T) (*service, *pgx.Conn) {
	t.Helper()
	database := pgtest.Database(t)
	engine := newEngineOn(t, database)
	runEngine(t, engine)
	conn := pgtest.Connect(t, database)
	pgtest.Exec(t, conn, `SELECT settings_join(gen_random_uuid(), 'pod-2', 'test', clock_timestamp(), '10s', NULL)`)
	return serveOn(t, engine, nil), conn
}

// acknowledge makes the other pod acknowledge a revision.
func acknowledge(t *testing.T, conn *pgx.Conn, r settings.Revision) {
	t.Helper()
	pgtest.Exec(t, conn, `SELECT settings_acknowledge(instance, $1, 'database', 'live') FROM settings_members WHERE pod = 'pod-2'`, r)
}

func wait(seconds string) http.Header { return http.Header{"Prefer": {"wait=" + seconds}} }

func TestAWriteThatWaitsAnswersWhenTheWholeFleetHasIt(t *testing.T) {
	s, conn := withStranger(t)
	var channel string
	if err := conn.QueryRow(t.Context(), `SELECT channel FROM settings_head`).Scan(&channel); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, conn, `LISTEN `+channel)
	for i, r := range []request{
		{method: "PUT", path: "/api/v1/admin/settings/k", token: adminToken, body: `{"value":1,"kind":"int"}`},
		{method: "PUT", path: "/api/v1/admin/settings/k", token: operatorToken, body: `{"value":2}`},
		{method: "PUT", path: "/api/v1/admin/maintenance", token: operatorToken, body: `{"enabled":true}`},
		{method: "DELETE", path: "/api/v1/admin/settings/k", token: adminToken},
	} {
		revision := settings.Revision(i + 2)
		r.header = wait("60")
		answered := make(chan answer)
		go func() { answered <- s.do(t, r) }()
		// The change is committed and in force here. Only the other pod is missing.
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if err := s.engine.Await(ctx, revision); err != nil {
			t.Fatal(err)
		}
		cancel()
		select {
		case a := <-answered:
			t.Fatalf("%s %s did not wait: %d %s", r.method, r.path, a.status, a.body)
		case <-time.After(50 * time.Millisecond):
		}
		acknowledge(t, conn, revision)
		if n, err := conn.WaitForNotification(t.Context()); err != nil || !strings.Contains(n.Payload, `"wait" : true`) {
			t.Errorf("%s %s: pods are not told that somebody waits: %v %v", r.method, r.path, n, err)
		}
		a := <-answered
		want := 200
		if i == 0 {
			want = 201
		}
		if a.status != want || a.header.Get("Preference-Applied") != "wait=60" {
			t.Errorf("%s %s: %d %v %s", r.method, r.path, a.status, a.header, a.body)
		}
		fleet := a.json(t)["fleet"].(map[string]any)
		if fleet["converged"] != true || fleet["revision"] != float64(revision) || len(fleet["pods"].([]any)) != 2 {
			t.Errorf("%v", fleet)
		}
	}
}

func TestAWriteWhoseWaitEndsNamesWhoHasItNot(t *testing.T) {
	s, conn := withStranger(t)
	a := s.do(t, request{method: "PUT", path: "/api/v1/admin/maintenance", token: operatorToken, body: `{"enabled":true}`, header: wait("1")})
	if a.status != 202 || a.header.Get("Preference-Applied") != "" {
		t.Errorf("%d %v %s", a.status, a.header, a.body)
	}
	body := a.json(t)
	fleet := body["fleet"].(map[string]any)
	if diff := cmp.Diff([]any{"pod-2"}, fleet["behind"]); fleet["converged"] != false || diff != "" {
		t.Errorf("%v", fleet)
	}
	if note := body["note"].(string); !strings.Contains(note, "committed as revision 2") || !strings.Contains(note, "pod-2") {
		t.Errorf("note: %q", note)
	}
	if !s.engine.Maintenance().Enabled {
		t.Error("the change does not stand")
	}

	pgtest.Exec(t, conn, `UPDATE settings_pods SET last_seen = clock_timestamp() - interval '31 seconds' WHERE pod = 'pod-2'`)
	began := time.Now()
	a = s.do(t, request{method: "PUT", path: "/api/v1/admin/maintenance", token: operatorToken, body: `{"enabled":false}`, header: wait("60")})
	fleet = a.json(t)["fleet"].(map[string]any)
	if diff := cmp.Diff(map[string]any{"behind": []any{}, "lost": []any{"pod-2"}}, map[string]any{"behind": fleet["behind"], "lost": fleet["lost"]}); diff != "" || a.status != 202 {
		t.Errorf("%d %s", a.status, diff)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("a pod that was lost before held it up for %v", took)
	}
}

func TestAWaitEndsWhenThePodStops(t *testing.T) {
	s, _ := withStranger(t)
	answered := make(chan answer)
	go func() {
		answered <- s.do(t, request{method: "PUT", path: "/api/v1/admin/maintenance", token: operatorToken, body: `{"enabled":true}`, header: wait("60")})
	}()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.engine.Await(ctx, 2); err != nil {
		t.Fatal(err)
	}
	close(s.draining)
	select {
	case a := <-answered:
		if a.status != 202 {
			t.Errorf("%d %s", a.status, a.body)
		}
	case <-time.After(patience):
		t.Error("it waits on")
	}
}

func TestAWaitThatCannotBeReadIsRefusedBeforeAnythingIsChanged(t *testing.T) {
	s := serve(t, nil)
	s.do(t, request{method: "PUT", path: "/api/v1/admin/maintenance", token: operatorToken, body: `{"enabled":true}`, header: wait("soon")}).
		wantProblem(t, 400, "bad-preference")
	if s.engine.Maintenance().Enabled {
		t.Error("it was made")
	}
}

func TestTheFleetIsReported(t *testing.T) {
	s, conn := withStranger(t)
	acknowledge(t, conn, 1)
	s.put(t, "maintenance", `{"enabled":true}`)
	a := s.get(t, "/api/v1/admin/fleet", viewerToken)
	fleet := a.json(t)
	if fleet["revision"] != 2.0 || fleet["converged"] != false || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v %v", a.status, a.header, fleet)
	}
	other := fleet["pods"].([]any)[1].(map[string]any)
	if lag := other["lag_seconds"].(float64); lag <= 0 || lag > 60 {
		t.Errorf("lag_seconds is %v", lag)
	}
	for _, volatile := range []string{"lag_seconds", "applied_at", "last_seen", "started_at"} {
		if other[volatile] == nil {
			t.Errorf("no %s", volatile)
		}
		delete(other, volatile)
	}
	want := map[string]any{
		"pod": "pod-2", "revision": 1.0, "state": "behind", "lag": 1.0, "closed_at": nil,
		"source": "database", "listener": "live", "build": "test",
	}
	if diff := cmp.Diff(want, other); diff != "" {
		t.Error(diff)
	}
	if fleet := s.get(t, "/api/v1/admin/fleet?revision=1", viewerToken).json(t); fleet["converged"] != true || fleet["revision"] != 1.0 {
		t.Errorf("about revision 1: %v", fleet)
	}
	for _, wrong := range []string{"0", "-1", "x", "1.5", "99999999999999999999"} {
		s.get(t, "/api/v1/admin/fleet?revision="+wrong, viewerToken).wantProblem(t, 422, "invalid-field")
	}
	s.get(t, "/api/v1/admin/fleet", "").wantProblem(t, 401, "unauthorized")
}

// An unknown fleet is never reported as converged, and a write is not refused because of it.
func TestWhereTheRegisterIsGoneTheFleetIsUnknown(t *testing.T) {
	s, conn := withStranger(t)
	pgtest.Exec(t, conn, `DROP TABLE settings_pods CASCADE`)
	a := s.do(t, request{method: "PUT", path: "/api/v1/admin/maintenance", token: operatorToken, body: `{"enabled":true}`, header: wait("1")})
	fleet := a.json(t)["fleet"].(map[string]any)
	if a.status != 202 || fleet["converged"] != false || fleet["unknown"] == nil {
		t.Errorf("%d %s", a.status, a.body)
	}
	a = s.put(t, "maintenance", `{"enabled":false}`)
	if fleet := a.json(t)["fleet"].(map[string]any); a.status != 200 || fleet["converged"] != false || fleet["unknown"] == nil {
		t.Errorf("%d %s", a.status, a.body)
	}
	s.get(t, "/api/v1/admin/fleet", viewerToken).wantProblem(t, 503, "fleet-unknown")
}
