package migrations_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"platform-settings/test/pgtest"
)

const flip = `UPDATE platform_settings SET value_bool = NOT value_bool WHERE key = 'maintenance_mode'`

// join adds a pod to the register that has no process.
func join(t *testing.T, conn *pgx.Conn, pod, ttl string) (instance string) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), `SELECT gen_random_uuid()::text`).Scan(&instance); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, conn, `SELECT settings_join($1, $2, 'test', now(), $3::text::interval, NULL)`, instance, pod, ttl)
	return instance
}

// who runs a query with two columns, and returns the second by the first, a pod's name.
func who(t *testing.T, conn *pgx.Conn, sql string, args ...any) map[string]string {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	pods := map[string]string{}
	var name, what string
	if _, err := pgx.ForEachRow(rows, []any{&name, &what}, func() error { pods[name] = what; return nil }); err != nil {
		t.Fatalf("%v\n%s", err, sql)
	}
	return pods
}

// Guarantee 10, for settings_await().
func TestAwaitWaitsForEveryPodThatWasNotLostBefore(t *testing.T) {
	url := pgtest.Database(t)
	dba, pods := pgtest.Connect(t, url), pgtest.Connect(t, url)
	a, b := join(t, pods, "a", "10s"), join(t, pods, "b", "10s")
	join(t, pods, "lost", "10s")
	pgtest.Exec(t, pods, `UPDATE settings_pods SET last_seen = now() - interval '31 s' WHERE pod = 'lost'`)
	pgtest.Exec(t, dba, flip)

	const await = `SELECT pod, state || ' ' || has FROM settings_await(timeout => $1::text::interval)`
	pgtest.Exec(t, pods, `SELECT settings_acknowledge($1, 2, 'database', 'live')`, a)
	began := time.Now()
	if diff := cmp.Diff(map[string]string{"a": "current true", "b": "behind false", "lost": "lost false"}, who(t, dba, await, "300 ms")); diff != "" {
		t.Error(diff)
	}
	if took := time.Since(began); took < 300*time.Millisecond {
		t.Errorf("it waited for %v only", took)
	}
	answered := make(chan map[string]string)
	go func() { answered <- who(t, dba, await, "1 min") }()
	select {
	case got := <-answered:
		t.Fatalf("it did not wait: %v", got)
	case <-time.After(50 * time.Millisecond):
	}
	pgtest.Exec(t, pods, `SELECT settings_acknowledge($1, 2, 'database', 'live')`, b)
	select {
	case got := <-answered:
		if diff := cmp.Diff(map[string]string{"a": "current true", "b": "current true", "lost": "lost false"}, got); diff != "" {
			t.Error(diff)
		}
	case <-time.After(patience):
		t.Fatal("it waits on")
	}
	// Revision 2 is now older than the head's, and can be waited for even so.
	pgtest.Exec(t, dba, flip)
	if diff := cmp.Diff(map[string]string{"a": "true", "b": "true", "lost": "false"}, who(t, dba, `SELECT pod, has::text FROM settings_await(2, '1 min')`)); diff != "" {
		t.Error(diff)
	}
}

// A wait that could never end well is refused at once.
func TestAwaitRefusesToWaitForWhatCannotCome(t *testing.T) {
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	join(t, conn, "a", "10s")
	for words, setup := range map[string]string{
		"before COMMIT":   `BEGIN; ` + flip,
		"isolation level": `BEGIN ISOLATION LEVEL REPEATABLE READ`,
	} {
		pgtest.Exec(t, conn, setup)
		if _, err := conn.Exec(t.Context(), `SELECT * FROM settings_await()`); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%v, want an error that says %q", err, words)
		}
		pgtest.Exec(t, conn, `ROLLBACK`)
	}
}

// Acknowledging and waiting send no notification, and make no revision.
func TestAcknowledgingNotifiesNobody(t *testing.T) {
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	ear := listen(t, url)
	a := join(t, conn, "a", "10s")
	pgtest.Exec(t, conn, `SELECT settings_acknowledge($1, 1, 'database', 'live')`, a)
	pgtest.Exec(t, conn, `SELECT settings_check_in($1, 1, 'database', 'live')`, a)
	pgtest.Exec(t, conn, `SELECT * FROM settings_await()`)
	pgtest.Exec(t, conn, `SELECT settings_leave($1)`, a)
	if heard := ear.upTo(conn); len(heard) != 0 {
		t.Errorf("heard %v", heard)
	}
	if got := who(t, conn, `SELECT pod, state FROM settings_fleet`); len(got) != 0 {
		t.Errorf("it left, but is in the register: %v", got)
	}
	if got := who(t, conn, `SELECT relname::text, relpersistence::text FROM pg_class WHERE relname IN ('settings_pods', 'settings_members')`); got["settings_pods"] != "u" || got["settings_members"] != "p" {
		t.Errorf("%v: the table of members must survive a crash, that of their states need not", got)
	}
}

func TestNobodyButTheServiceCanSpeakForAPod(t *testing.T) {
	url := pgtest.Database(t)
	a := join(t, pgtest.Connect(t, url), "a", "10s")
	clerk := pgtest.Connect(t, pgtest.Role(t, url, "clerk"))
	for _, sql := range []string{
		`SELECT settings_join(gen_random_uuid(), 'x', '', now(), '10s', NULL)`,
		`SELECT settings_acknowledge('` + a + `', 1, 'database', 'live')`,
		`SELECT settings_check_in('` + a + `', 1, 'database', 'live')`,
		`SELECT settings_leave('` + a + `')`,
		`SELECT * FROM settings_await()`,
		`SELECT * FROM settings_fleet`,
		`SELECT * FROM settings_pods`,
		`DELETE FROM settings_members`,
	} {
		if _, err := clerk.Exec(t.Context(), sql); err == nil {
			t.Errorf("%s: allowed", sql)
		}
	}
}
