package settings

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"platform-settings/test/pgtest"

	"platform-settings/settings"
)

var tester = settings.Author{Actor: "tester", Reason: "a test"}

// Guarantee 10: an answer means committed and in force here.
func TestAWriteIsInForceWhenItAnswers(t *testing.T) {
	for name, edit := range map[string]func(*Config){
		"with a listener":      nil,
		"with the poll alone":  func(c *Config) { c.Listen = nil },
		"with a listener lost": func(c *Config) { c.Listen.Port = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			url := pgtest.Database(t)
			e, _ := newEngine(t, url, edit)
			start(t, e)
			if err := e.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			for i := range 20 {
				on := i%2 == 0
				revision, m, err := e.SetMaintenance(t.Context(), tester, settings.Maintenance{Enabled: on})
				if err != nil {
					t.Fatal(err)
				}
				if e.Maintenance().ActiveNow() != on || m.Enabled != on || e.Current().Revision() < revision {
					t.Fatalf("answered revision %d, but revision %d is in force", revision, e.Current().Revision())
				}
				if want := settings.Revision(i + 2); revision != want {
					t.Fatalf("revision %d, want %d", revision, want)
				}
			}
		})
	}
}

func TestAWriteThatChangesNothingAnswersTheLastRevision(t *testing.T) {
	e, _ := liveEngine(t, pgtest.Database(t), nil)
	first, err := e.Put(t.Context(), tester, settings.Put{Key: "k", Value: settings.IntOf(1), MayCreate: true})
	if err != nil || !first.Created {
		t.Fatalf("%+v, %v", first, err)
	}
	if _, err := e.Put(t.Context(), tester, settings.Put{Key: "other", Value: settings.IntOf(1), MayCreate: true}); err != nil {
		t.Fatal(err)
	}
	again, err := e.Put(t.Context(), tester, settings.Put{Key: "k", Value: settings.IntOf(1)})
	if err != nil || again.Created || again.Setting.Revision != first.Revision || again.Revision != first.Revision+1 {
		t.Errorf("%+v of %+v, %v", again, again.Setting, err)
	}
	if s := e.Current().Lookup("k"); *s != *again.Setting {
		t.Errorf("answered %+v, in force %+v", again.Setting, s)
	}
}

func TestConditionsAreCheckedUnderTheRowsLock(t *testing.T) {
	url := pgtest.Database(t)
	e, _ := liveEngine(t, url, nil)
	put := func(v int64, c settings.Condition) error {
		_, err := e.Put(t.Context(), tester, settings.Put{Key: "k", Value: settings.IntOf(v), Condition: c, MayCreate: true})
		return err
	}
	for _, step := range []struct {
		value     int64
		condition settings.Condition
		conflict  bool
	}{
		{1, settings.Condition{Exists: true}, true},
		{1, settings.Condition{Revisions: []settings.Revision{1}}, true},
		{1, settings.Condition{Absent: true}, false}, // revision 2
		{2, settings.Condition{Absent: true}, true},
		{2, settings.Condition{Revisions: []settings.Revision{1, 3}}, true},
		{2, settings.Condition{Revisions: []settings.Revision{}}, true},
		{2, settings.Condition{Revisions: []settings.Revision{1, 2}}, false}, // revision 3
		{3, settings.Condition{Exists: true}, false},
	} {
		err := put(step.value, step.condition)
		if _, conflict := errors.AsType[*settings.ConflictError](err); conflict != step.conflict || err != nil && !conflict {
			t.Errorf("%d, %+v: %v, want a conflict: %v", step.value, step.condition, err, step.conflict)
		}
	}

	// Somebody else changes it while two writes wait for its lock, so both conditions are
	// out of date.
	have := e.Current().Lookup("k").Revision
	dba, watcher := pgtest.Connect(t, url), pgtest.Connect(t, url)
	pgtest.Exec(t, dba, `BEGIN; UPDATE platform_settings SET value_int = 99 WHERE key = 'k'`)
	results := make(chan error, 2)
	for range cap(results) {
		go func() { results <- put(100, settings.Condition{Revisions: []settings.Revision{have}}) }()
	}
	until(t, "both wait", func() (both bool) {
		err := watcher.QueryRow(t.Context(), `SELECT count(*) = 2 FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&both)
		return err == nil && both
	})
	pgtest.Exec(t, dba, `COMMIT`)
	for range cap(results) {
		err := <-results
		if conflict, ok := errors.AsType[*settings.ConflictError](err); !ok || conflict.Have != have+1 {
			t.Errorf("%v, want a conflict with revision %d", err, have+1)
		}
	}
}

// The transaction that a write waits for may have deleted the row and created another
// one with the same key.
func TestAWriteDecidesOnLockedRowsOnly(t *testing.T) {
	url := pgtest.Database(t)
	e, _ := liveEngine(t, url, nil)
	dba, watcher := pgtest.Connect(t, url), pgtest.Connect(t, url)
	pgtest.Exec(t, dba, `INSERT INTO platform_settings (key, value_int) VALUES ('k', 1)`)
	pgtest.Exec(t, dba, `BEGIN; DELETE FROM platform_settings WHERE key = 'k'; INSERT INTO platform_settings (key, value_int) VALUES ('k', 2)`)
	result := make(chan error, 1)
	go func() {
		_, _, err := e.transact(t.Context(), tester, []string{"k"}, func(current map[string]*settings.Setting) ([]edit, error) {
			if k := current["k"]; k == nil || k.Value.Int() != 2 {
				t.Errorf("decides on %+v, want the new row", k)
			}
			_, err := watcher.Exec(t.Context(), `SELECT FROM platform_settings WHERE key = 'k' FOR UPDATE NOWAIT`)
			if code(err) != "55P03" {
				t.Errorf("somebody else may change it meanwhile: %v", err)
			}
			return nil, nil
		})
		result <- err
	}()
	until(t, "it waits", func() (waits bool) {
		err := watcher.QueryRow(t.Context(), `SELECT count(*) = 1 FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waits)
		return err == nil && waits
	})
	pgtest.Exec(t, dba, `COMMIT`)
	if err := <-result; err != nil {
		t.Error(err)
	}
}

func TestManyWritersAtOnceEachGetTheirRevision(t *testing.T) {
	e, _ := liveEngine(t, pgtest.Database(t), nil)
	var mu sync.Mutex
	seen := map[settings.Revision]string{}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 10 {
				key := fmt.Sprintf("k%d", (w+i)%3)
				written, err := e.Put(t.Context(), tester, settings.Put{Key: key, Value: settings.IntOf(int64(w*100 + i)), MayCreate: true})
				if err != nil {
					t.Errorf("put: %v", err)
					return
				}
				mu.Lock()
				if other, twice := seen[written.Revision]; twice {
					t.Errorf("revision %d was answered to %s and %s", written.Revision, other, key)
				}
				seen[written.Revision] = key
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if got := e.Current().Revision(); len(seen) != 80 || got != 81 {
		t.Errorf("%d revisions answered, revision %d in force, want 80 and 81", len(seen), got)
	}
}

func TestBadWritesAreRefusedWithTheFieldAndTheRule(t *testing.T) {
	e, _ := liveEngine(t, pgtest.Database(t), nil)
	if _, err := e.Put(t.Context(), tester, settings.Put{Key: "n", Value: settings.IntOf(1), MayCreate: true}); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		put  settings.Put
		want string
	}{
		"a malformed key":        {settings.Put{Key: "Nope", Value: settings.IntOf(1)}, "key must"},
		"a key with a line end":  {settings.Put{Key: "n\n", Value: settings.IntOf(1)}, "key must"},
		"a text over 64 KiB":     {settings.Put{Key: "t", Value: settings.TextOf(strings.Repeat("x", settings.MaxValueBytes+1)), MayCreate: true}, "65536 bytes"},
		"a json over 64 KiB":     {settings.Put{Key: "j", Value: settings.JSONOf(`[` + strings.Repeat("1,", 22000) + `1]`), MayCreate: true}, `"platform_settings_json_at_most_64_kib": as PostgreSQL writes it, with spaces, a json takes at most 65536 bytes`},
		"U+0000 in a text":       {settings.Put{Key: "t", Value: settings.TextOf("a\x00b"), MayCreate: true}, "U+0000"},
		"U+0000 in a json":       {settings.Put{Key: "j", Value: settings.JSONOf(`"\u0000"`), MayCreate: true}, "refused by the database"},
		"no number":              {settings.Put{Key: "f", Value: settings.FloatOf(math.NaN()), MayCreate: true}, "finite"},
		"a year out of range":    {settings.Put{Key: "at", Value: settings.TimeOf(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)), MayCreate: true}, "years"},
		"another kind":           {settings.Put{Key: "n", Value: settings.TextOf("x")}, "kind int, not text"},
		"the zero time":          {settings.Put{Key: "at", Value: settings.TimeOf(time.Time{}), MayCreate: true}, "years"},
		"a deep json":            {settings.Put{Key: "j", Value: settings.JSONOf(strings.Repeat("[", 200) + strings.Repeat("]", 200)), MayCreate: true}, `"platform_settings_json_at_most_100_levels": a json has at most 100 levels`},
		"a well-known key":       {settings.Put{Key: settings.KeyMaintenanceRetryAfter, Value: settings.IntOf(0), MayCreate: true}, `"platform_settings_well_known_kind": maintenance_retry_after is an int from 1 to 86400 (seconds), maintenance_mode and`},
		"no right to create one": {settings.Put{Key: "new", Value: settings.IntOf(1)}, "may not create"},
	} {
		_, err := e.Put(t.Context(), tester, test.put)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	if _, err := settings.ParseValue(settings.KindFloat, []byte("1e-400")); err == nil {
		t.Error("a float too small for 64 bits became 0")
	}
	for _, zero := range []string{"0", "-0.0", "0e9"} {
		if _, err := settings.ParseValue(settings.KindFloat, []byte(zero)); err != nil {
			t.Errorf("%s: %v", zero, err)
		}
	}
	if _, err := e.Delete(t.Context(), tester, "missing", settings.Condition{}); !errors.Is(err, settings.ErrNotFound) {
		t.Errorf("delete what is not there: %v", err)
	}
	if _, err := e.Put(t.Context(), settings.Author{Reason: strings.Repeat("x", settings.MaxReasonBytes+1)}, settings.Put{Key: "n", Value: settings.IntOf(2)}); err == nil {
		t.Error("a reason that is too long: no error")
	}
	now := time.Now()
	for name, m := range map[string]settings.Maintenance{
		"ends_at is over already": {EndsAt: now.Add(-time.Minute)},
		"ends_at must be after":   {StartsAt: now.Add(2 * time.Hour), EndsAt: now.Add(time.Hour)},
		"retry_after must":        {RetryAfter: settings.MaxRetryAfter + time.Second},
		"message must":            {Message: strings.Repeat("x", settings.MaxValueBytes+1)},
	} {
		if _, _, err := e.SetMaintenance(t.Context(), tester, m); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want %q", err, name)
		}
	}
	if got := e.Current().Revision(); got != 2 {
		t.Errorf("refused writes made revisions: %d", got)
	}
}

// Guarantee 2, for writes by a pod: an open transaction delays no other key's writer. A
// write to the same key is refused in bounded time, with the reason.
func TestAnOpenTransactionDelaysOnlyItsOwnKey(t *testing.T) {
	url := pgtest.Database(t)
	e, _ := liveEngine(t, url, nil)
	dba := pgtest.Connect(t, url)
	pgtest.Exec(t, dba, `BEGIN`)
	pgtest.Exec(t, dba, flip)
	if _, err := e.Put(t.Context(), tester, settings.Put{Key: "k", Value: settings.IntOf(1), MayCreate: true}); err != nil {
		t.Errorf("another key: %v", err)
	}
	if _, _, err := e.SetMaintenance(t.Context(), tester, settings.Maintenance{}); !errors.Is(err, settings.ErrLocked) {
		t.Errorf("the same key: %v, want ErrLocked", err)
	}
	pgtest.Exec(t, dba, `COMMIT`)
	if _, _, err := e.SetMaintenance(t.Context(), tester, settings.Maintenance{}); err != nil {
		t.Errorf("after the other's COMMIT: %v", err)
	}
	pgtest.Exec(t, dba, `BEGIN; TRUNCATE platform_settings`)
	if _, _, err := e.SetMaintenance(t.Context(), tester, settings.Maintenance{}); !errors.Is(err, settings.ErrLocked) {
		t.Errorf("while the whole table is held: %v, want ErrLocked", err)
	}
	pgtest.Exec(t, dba, `ROLLBACK`)
}

func TestSetMaintenanceReplacesAllOfIt(t *testing.T) {
	url := pgtest.Database(t)
	e, _ := liveEngine(t, url, nil)
	start := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	full := settings.Maintenance{
		Enabled: true, ReadOnly: true, Message: "back soon", RetryAfter: 90 * time.Second,
		StartsAt: start, EndsAt: start.Add(time.Hour),
	}
	for _, want := range []settings.Maintenance{full, {Enabled: true}, full, {}} {
		_, got, err := e.SetMaintenance(t.Context(), tester, want)
		if err != nil {
			t.Fatal(err)
		}
		want.SwitchedAt = got.SwitchedAt
		if *got != want || *e.Maintenance() != want {
			t.Errorf("wrote %+v\nanswered %+v\nin force %+v", want, *got, *e.Maintenance())
		}
	}
	if n := e.Current().Len(); n != 1 {
		t.Errorf("%d settings are left, want maintenance_mode alone", n)
	}

	conn := pgtest.Connect(t, url)
	rows, err := conn.Query(t.Context(), `SELECT DISTINCT actor || ': ' || reason FROM settings_history WHERE revision > 1`)
	if err != nil {
		t.Fatal(err)
	}
	authors, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(authors) != 1 || authors[0] != "tester: a test" {
		t.Errorf("the history names %q, %v", authors, err)
	}
}

func TestAnUnreachableDatabaseIsUnavailable(t *testing.T) {
	e, _ := newEngine(t, "postgres://nobody@127.0.0.1:1/none", nil)
	start(t, e)
	if _, _, err := e.SetMaintenance(t.Context(), tester, settings.Maintenance{}); !errors.Is(err, settings.ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	until(t, "the status says so", func() bool { return len(e.Status().Problems) > 1 })
}

// A restart of the server closes the pool's connections. The next write uses a new one.
func TestTheFirstWriteAfterARestartIsMade(t *testing.T) {
	url := pgtest.Database(t)
	e, _ := liveEngine(t, url, nil)
	admin := pgtest.Connect(t, url)
	for i := range 5 {
		if _, err := e.Put(t.Context(), tester, settings.Put{Key: "k", Value: settings.IntOf(int64(i)), MayCreate: true}); err != nil {
			t.Fatal(err)
		}
		pgtest.Exec(t, admin, `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid()`)
	}
}

// Guarantee 10: a change that would get no revision is refused, and not made.
func TestNothingIsWrittenWhileTheTriggersAreOff(t *testing.T) {
	for _, off := range []string{
		`ALTER TABLE platform_settings DISABLE TRIGGER ALL`,
		`ALTER TABLE platform_settings DISABLE TRIGGER settings_row`,
		`ALTER TABLE settings_pending DISABLE TRIGGER settings_commit`,
		`DROP TRIGGER settings_truncate ON platform_settings`,
	} {
		url := pgtest.Database(t)
		e := fleet(t, url, 1, nil)[0]
		conn := pgtest.Connect(t, url)
		pgtest.Exec(t, conn, off)
		if _, _, err := e.SetMaintenance(t.Context(), tester, settings.Maintenance{Enabled: true}); !errors.Is(err, settings.ErrTriggersOff) {
			t.Errorf("%s: %v, want ErrTriggersOff", off, err)
		}
		var enabled bool
		if err := conn.QueryRow(t.Context(), `SELECT value_bool FROM platform_settings WHERE key = 'maintenance_mode'`).Scan(&enabled); err != nil || enabled {
			t.Errorf("%s: it was made, %v", off, err)
		}
		if f, err := e.Fleet(t.Context(), 0); !errors.Is(err, settings.ErrFleetUnknown) || f.Converged {
			t.Errorf("%s: the fleet's state is known: %+v, %v", off, f, err)
		}
		if _, err := conn.Exec(t.Context(), `SELECT * FROM settings_await()`); err == nil {
			t.Errorf("%s: settings_await gives a report that it cannot know", off)
		}
	}
	// In an ordinary session, ORIGIN triggers fire just as ALWAYS triggers do.
	url := pgtest.Database(t)
	e := fleet(t, url, 1, nil)[0]
	pgtest.Exec(t, pgtest.Connect(t, url), `ALTER TABLE platform_settings DISABLE TRIGGER ALL; ALTER TABLE platform_settings ENABLE TRIGGER ALL`)
	if _, _, err := e.SetMaintenance(t.Context(), tester, settings.Maintenance{Enabled: true}); err != nil {
		t.Error(err)
	}
}

// Guarantee 10: rows that changed while the triggers were off are in force on no pod
// until its poll finds them. A write of the same values changes nothing in the table. It
// makes a commit even so, and is not reported as in force before it is.
func TestAWriteAnnouncesWhatTheTriggersMissed(t *testing.T) {
	url := pgtest.Database(t)
	engines := fleet(t, url, 2, func(c *Config) { c.TTL = time.Hour }) // no poll finds them
	pgtest.Exec(t, pgtest.Connect(t, url), `BEGIN;
		ALTER TABLE platform_settings DISABLE TRIGGER ALL;
		UPDATE platform_settings SET value_bool = true;
		ALTER TABLE platform_settings ENABLE ALWAYS TRIGGER settings_stamp, ENABLE ALWAYS TRIGGER settings_row, ENABLE ALWAYS TRIGGER settings_truncate;
		COMMIT`)
	revision, _, err := engines[0].SetMaintenance(t.Context(), tester, settings.Maintenance{Enabled: true})
	if err != nil || revision != 2 {
		t.Fatalf("revision %d, %v, want 2: the pod did not have it", revision, err)
	}
	for _, e := range engines {
		s := awaitSnapshot(t, e, "maintenance is on", func(s *settings.Snapshot) bool { return s.Maintenance().Enabled })
		if s.Revision() != 2 {
			t.Errorf("revision %d, want 2", s.Revision())
		}
	}
	if again, _, err := engines[0].SetMaintenance(t.Context(), tester, settings.Maintenance{Enabled: true}); err != nil || again != 2 {
		t.Errorf("revision %d, %v, want 2: nothing changed", again, err)
	}
}
