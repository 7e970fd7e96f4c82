package test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"platform-settings/test/pgtest"
)

// Guarantee 5: any role that may connect may LISTEN and NOTIFY. One that may do
// nothing else cannot learn where, and what it sends anywhere else has no effect.
func TestARoleThatMayOnlyConnectLearnsAndForgesNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, pgtest.Database(t), hourly)
	admin, guest := f.connect(), pgtest.Connect(t, pgtest.Role(t, f.direct, "guest"))
	for _, sql := range []string{
		`SELECT channel FROM settings_head`, `TABLE settings_head`, `SELECT * FROM platform_settings`,
		`SELECT * FROM settings_history`, `COPY settings_head TO STDOUT`, `UPDATE settings_head SET channel = DEFAULT`,
	} {
		_, err := guest.Exec(t.Context(), sql)
		if refused, ok := errors.AsType[*pgconn.PgError](err); !ok || refused.Code != "42501" {
			t.Errorf("%s: %v, want a refusal", sql, err)
		}
	}
	channel := scalar[string](t, admin, `SELECT channel FROM settings_head`)
	const seen = `SELECT coalesce(string_agg(query, '|'), '') FROM pg_stat_activity WHERE application_name = '` + listening + `'`
	for range 20 { // LISTEN names it, and is what the server shows for a moment
		terminate(t, admin, listening)
		for until := time.Now().Add(30 * time.Millisecond); time.Now().Before(until); {
			if queries := scalar[string](t, guest, seen); strings.Contains(queries, channel) {
				t.Fatalf("the guest saw %s", queries)
			}
		}
	}
	// The pod may not know of the last one yet: with an hour's TTL, what is in force
	// tells that it has connected again.
	f.inForce(time.Now(), 2*time.Second)
	f.pods[0].AwaitReady("ok")
	f.hears(time.Now(), time.Second)

	for _, guess := range []string{"settings", "platform_settings", "platform_settings_", "settings_head", strings.ToUpper(channel)} {
		pgtest.Exec(t, guest, `LISTEN `+pgx.Identifier{guess}.Sanitize())
		pgtest.Exec(t, guest, `SELECT pg_notify($1, $2)`, guess, forgery(revision(t, admin)+1))
	}
	f.inForce(time.Now(), time.Second)
	f.exactly(time.Now(), time.Second)
	pgtest.Exec(t, guest, `UNLISTEN *`)
	pgtest.Exec(t, guest, `SELECT`)
	heard, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	for {
		n, err := guest.WaitForNotification(heard)
		if err != nil {
			break
		}
		if n.PID != guest.PgConn().PID() {
			t.Errorf("the guest overheard %s", n.Payload)
		}
	}
	for _, result := range []string{"unreadable", "gap"} {
		if n := metric(t, f.pods[0], `settings_notifications_total{result="`+result+`"}`); n != 0 {
			t.Errorf("%v notifications were %s", n, result)
		}
	}
	if got := f.pods[0].Status("/"); got != 200 {
		t.Errorf("the gate answers %d", got)
	}
}

// forgery is a commit that never was, with maintenance on.
func forgery(revision int) string {
	return fmt.Sprintf(`{"revision":%d,"changes":[{"key":"maintenance_mode","kind":"bool","value":true,"digest":1}]}`, revision)
}

// The channel's name has leaked, and a forged commit is believed. It stands for
// a TTL at most, and so does what it keeps from being applied.
func TestAForgedCommitIsRepairedWithinATTL(t *testing.T) {
	t.Parallel()
	const ttl = time.Second
	f := newFleet(t, 2, pgtest.Database(t), fmt.Sprint("SETTINGS_TTL=", ttl))
	admin, guest := f.connect(), pgtest.Connect(t, pgtest.Role(t, f.direct, "guest"))
	channel := scalar[string](t, admin, `SELECT channel FROM settings_head`)
	// One that cannot be the next is not believed at all: the table is read.
	pgtest.Exec(t, guest, `SELECT pg_notify($1, $2)`, channel, forgery(revision(t, admin)+2))
	f.hears(time.Now(), time.Second)
	for _, p := range f.pods {
		if got := p.Status("/"); got != 200 {
			t.Errorf("the gate answers %d to a commit from the future", got)
		}
	}
	f.exactly(time.Now(), time.Second)

	for name, after := range map[string]string{
		"alone":                            `SELECT`,
		"and a true one with its revision": `UPDATE platform_settings SET value_int = value_int + 1 WHERE key = 'marker'`,
	} {
		believed := func() (n float64) {
			for _, p := range f.pods {
				n += metric(t, p, "settings_commits_applied_total")
			}
			return n
		}
		before, forged := believed(), time.Now()
		pgtest.Exec(t, guest, `SELECT pg_notify($1, $2)`, channel, forgery(revision(t, admin)+1))
		// Counted, for the next poll may have repaired it already.
		within(t, forged, time.Second, "every pod believes a forged commit", func() bool { return believed() == before+float64(len(f.pods)) })
		pgtest.Exec(t, admin, after)
		f.exactly(forged, ttl+oneLook)
		for _, p := range f.pods {
			if got := p.Status("/"); got != 200 {
				t.Errorf("%s: the gate answers %d", name, got)
			}
			p.AwaitReady("ok")
		}
	}
}
