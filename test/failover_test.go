package test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"platform-settings/test/pgtest"
	"platform-settings/test/pod"
)

// scalar asks for one value.
func scalar[T any](t *testing.T, conn *pgx.Conn, sql string) (v T) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), sql).Scan(&v); err != nil {
		t.Fatalf("%v\n%s", err, sql)
	}
	return v
}

// eventually asks until the answer is yes; a server has no event for these.
func eventually(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !scalar[bool](t, conn, sql) {
		if time.Now().After(deadline) {
			t.Fatalf("never came true: %s", sql)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// table is what the database holds, as /api/v1/settings tells it.
func table(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	return scalar[string](t, conn, `SELECT string_agg(key || '=' || coalesce(value_bool::text, value_int::text, value_text), ' ' ORDER BY key) FROM platform_settings`)
}

func served(t *testing.T, p *pod.Pod) string {
	t.Helper()
	var words []string
	for _, s := range p.Must(200, "GET", "/api/v1/settings", pod.Viewer, "").JSON(t)["settings"].([]any) {
		setting := s.(map[string]any)
		words = append(words, fmt.Sprintf("%v=%v", setting["key"], setting["value"]))
	}
	return strings.Join(words, " ")
}

// An asynchronous failover loses commits, and the new primary uses their
// revisions again for others. Every pod follows it, and says what happened.
func TestAfterAFailoverThatLostCommitsEveryPodHoldsTheNewPrimarysTable(t *testing.T) {
	primary := pgtest.Dedicated(t, pgserverConfig)
	standby, err := primary.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := standby.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	url := fmt.Sprintf("postgres://postgres@127.0.0.1:%d,127.0.0.1:%d/postgres?sslmode=disable&target_session_attrs=read-write", primary.Port(), standby.Port())
	pods := pod.Fleet(t, 3, url, "SETTINGS_TTL=500ms")
	old, next := pgtest.Connect(t, primary.URL("postgres")), pgtest.Connect(t, standby.URL("postgres"))
	pgtest.Exec(t, old, `INSERT INTO platform_settings (key, value_int) VALUES ('kept', 1)`)
	eventually(t, next, `SELECT count(*) = 1 FROM platform_settings WHERE key = 'kept'`)

	// The standby hears no more; what is committed now will be lost.
	pgtest.Exec(t, next, `ALTER SYSTEM SET primary_conninfo = ''`)
	pgtest.Exec(t, next, `SELECT pg_reload_conf()`)
	eventually(t, next, `SELECT count(*) = 0 FROM pg_stat_wal_receiver`)
	pgtest.Exec(t, old, `INSERT INTO platform_settings (key, value_int) VALUES ('lost', 1)`)
	pgtest.Exec(t, old, `UPDATE platform_settings SET value_int = 2 WHERE key = 'kept'`)
	pods[0].Must(200, "PUT", maintenance, pod.Operator, `{"enabled":true}`)
	for _, p := range pods {
		p.AwaitRevision(5)
	}

	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	if !scalar[bool](t, next, `SELECT pg_promote()`) {
		t.Fatal("the standby was not promoted")
	}
	// Two of the three lost revisions are used again, for other changes.
	pgtest.Exec(t, next, `INSERT INTO platform_settings (key, value_int) VALUES ('new', 1)`)
	pgtest.Exec(t, next, `UPDATE platform_settings SET value_int = 3 WHERE key = 'kept'`)
	want := table(t, next)
	for i, p := range pods {
		p.AwaitRevision(4)
		p.AwaitReady("ok")
		if got := served(t, p); got != want {
			t.Errorf("pod %d serves %q, the new primary holds %q", i+1, got, want)
		}
		p.AwaitLog("the database went back")
		if metrics := string(p.Must(200, "GET", "/metrics", "", "").Body); !strings.Contains(metrics, `settings_repairs_total{cause="went_back"} 1`) {
			t.Errorf("pod %d did not count it once", i+1)
		}
	}
	pods[1].Must(200, "PUT", maintenance, pod.Operator, `{"enabled":true}`)
	for _, p := range pods {
		p.AwaitStatus("/", 503)
	}
}
