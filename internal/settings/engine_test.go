package settings

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"platform-settings/test/pgtest"

	"platform-settings/settings"
)

const flip = `UPDATE platform_settings SET value_bool = NOT value_bool WHERE key = 'maintenance_mode'`

func TestAChangedRowIsPickedUpByNotification(t *testing.T) {
	url := pgtest.Database(t)
	e, _ := liveEngine(t, url, nil)
	pgtest.Exec(t, pgtest.Connect(t, url), flip)
	awaitSnapshot(t, e, "maintenance is on", func(s *settings.Snapshot) bool { return s.Maintenance().Enabled })
}

func TestAChangedRowIsPickedUpByThePollWithTheListenerOff(t *testing.T) {
	url := pgtest.Database(t)
	e, _ := newEngine(t, url, func(c *Config) { c.Listen, c.TTL = nil, 100*time.Millisecond })
	start(t, e)
	if err := e.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, pgtest.Connect(t, url), flip)
	awaitSnapshot(t, e, "maintenance is on", func(s *settings.Snapshot) bool { return s.Maintenance().Enabled })
	until(t, "the status says that it polls", func() bool { return e.Status().Listener == "polling" })
}

// Guarantee 4: a commit costs the database no query, no matter how many pods there are.
func TestACommitIsAppliedFromItsNotificationWithoutAQuery(t *testing.T) {
	url := pgtest.Database(t)
	e, _ := liveEngine(t, url, nil)
	conn := pgtest.Connect(t, url)
	until(t, "the first reads are over", func() bool { return testutil.ToFloat64(e.poller.counts.ok) == 1 })
	reads := testutil.ToFloat64(e.poller.counts.reads)
	for range 10 {
		pgtest.Exec(t, conn, flip)
	}
	want := headRevision(t, conn)
	awaitSnapshot(t, e, "the last commit", func(s *settings.Snapshot) bool { return s.Revision() == want })
	until(t, "10 commits were applied from their notification", func() bool { return applied(t, e) == 10 })
	if now := testutil.ToFloat64(e.poller.counts.reads); now != reads {
		t.Errorf("10 commits cost %v full reads, want none", now-reads)
	}
}

// Guarantee 4: a notification and a read of the table give the same settings.
func TestTheNotificationAndTheTableAreReadAsTheSame(t *testing.T) {
	url := pgtest.Database(t)
	byListener, _ := liveEngine(t, url, nil)
	conn := pgtest.Connect(t, url)
	pgtest.Exec(t, conn, `SET timezone = 'Asia/Kolkata'`)
	pgtest.Exec(t, conn, `SET extra_float_digits = -5`)
	pgtest.Exec(t, conn, `INSERT INTO platform_settings (key, value_float) VALUES ('f', 0.1::float8 + 0.2::float8)`)
	pgtest.Exec(t, conn, `INSERT INTO platform_settings (key, value_float) VALUES ('f.small', 5e-324)`)
	pgtest.Exec(t, conn, `INSERT INTO platform_settings (key, value_int) VALUES ('i', -9223372036854775808)`)
	pgtest.Exec(t, conn, `INSERT INTO platform_settings (key, value_text, public) VALUES ('t', $1, true)`, "a \"quoted\" \\ line\n\u2028 \U0001F600 </script>")
	pgtest.Exec(t, conn, `INSERT INTO platform_settings (key, value_text, description) VALUES ('empty', '', 'an empty text')`)
	pgtest.Exec(t, conn, `INSERT INTO platform_settings (key, value_time) VALUES ('at', '1883-11-18 12:03:57.123456+05:53:28')`)
	pgtest.Exec(t, conn, `INSERT INTO platform_settings (key, value_json) VALUES ('j', '{"b": [1.0, 1e400, null], "a": "\u20ac"}')`)
	pgtest.Exec(t, conn, `INSERT INTO platform_settings (key, value_json) VALUES ('j.null', 'null')`)
	pgtest.Exec(t, conn, `UPDATE platform_settings SET value_json = '{"a": 1.00}' WHERE key = 'j.null'`)
	pgtest.Exec(t, conn, `UPDATE platform_settings SET key = 'renamed' WHERE key = 'empty'`)
	pgtest.Exec(t, conn, `SET settings.actor = 'somebody'; UPDATE platform_settings SET value_json = 'null' WHERE key = 'j.null'`)
	want := headRevision(t, conn)
	got := awaitSnapshot(t, byListener, "all of it", func(s *settings.Snapshot) bool { return s.Revision() == want })
	until(t, "all were applied from their notification", func() bool { return applied(t, byListener) == float64(want-1) })

	byRead, _ := newEngine(t, url, func(c *Config) { c.Listen = nil })
	start(t, byRead)
	if err := byRead.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	table := byRead.Current()
	if diff := cmp.Diff(table.All(), got.All(), cmp.AllowUnexported(settings.Value{})); diff != "" {
		t.Errorf("the snapshot kept by notifications differs from the table (-table +notified):\n%s", diff)
	}
	if table.Digest() != got.Digest() {
		t.Errorf("digest %d, the table's %d", got.Digest(), table.Digest())
	}
}

// Guarantee 4: a commit that is too large for a notification is one revision too.
func TestACommitTooLargeForANotificationIsReadFromTheTable(t *testing.T) {
	url := pgtest.Database(t)
	e, _ := liveEngine(t, url, nil)
	conn := pgtest.Connect(t, url)
	before := headRevision(t, conn)
	pgtest.Exec(t, conn, `INSERT INTO platform_settings (key, value_text) VALUES ('big', repeat('€', 21845) || 'x')`) // 64 KiB
	pgtest.Exec(t, conn, `INSERT INTO platform_settings (key, value_int) SELECT 'k' || i, i FROM generate_series(1, 1000) i`)
	if after := headRevision(t, conn); after != before+2 {
		t.Errorf("two commits made %d revisions", after-before)
	}
	s := awaitSnapshot(t, e, "both commits", func(s *settings.Snapshot) bool { return s.Revision() == before+2 })
	if s.Lookup("k1000").Value.Int() != 1000 || len(s.Lookup("big").Value.Text()) != 64<<10 {
		t.Error("the snapshot lacks what the commits held")
	}
	pgtest.Exec(t, conn, flip)
	awaitSnapshot(t, e, "the next small commit", func(s *settings.Snapshot) bool { return s.Revision() == before+3 })
}

// Guarantee 4 and Guarantee 5: no payload does harm, no matter who sends it.
func TestAnUnreadableNotificationIsAnsweredByReadingTheTable(t *testing.T) {
	url := pgtest.Database(t)
	e, _ := liveEngine(t, url, nil)
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() {
		for s := range e.Watch(ctx) {
			if s.Revision() > 2 || s.Maintenance().Enabled {
				t.Errorf("a forged payload got through: revision %d", s.Revision())
			}
		}
	})
	conn := pgtest.Connect(t, url)
	for _, payload := range []string{
		``, `garbage`, `{}`, `{"revision":0}`, `{"revision":-1}`, `[1]`, `{"revision":"2"}`, `null`,
		`{"revision":2,"changes":[{"key":"x","kind":"color","value":1}]}`,
		`{"revision":2,"changes":[{"key":"x","kind":"int","value":"1"}]}`,
		`{"revision":2,"changes":[{"key":"x","kind":"int"}]}`,
		`{"revision":9223372036854775807}`,
		`{"revision":77,"changes":[{"key":"maintenance_mode","kind":"bool","value":true}]}`,
		strings.Repeat("[", 7000),
	} {
		pgtest.Exec(t, conn, `SELECT pg_notify((SELECT channel FROM settings_head), $1)`, payload)
	}
	pgtest.Exec(t, conn, `INSERT INTO platform_settings (key, value_int) VALUES ('x', 5)`)
	s := awaitSnapshot(t, e, "the real commit", func(s *settings.Snapshot) bool { return s.Lookup("x") != nil })
	cancel()
	watching.Wait()
	if got := s.Lookup("x").Value.Int(); got != 5 {
		t.Errorf("x is %d", got)
	}
	if !e.listener.hears() {
		t.Error("a payload ended the listener")
	}
}

// Guarantee 3: a snapshot is a whole commit, and revisions go forward.
func TestEverySnapshotIsAWholeCommitAndNoneGoesBack(t *testing.T) {
	url := pgtest.Database(t)
	e, _ := liveEngine(t, url, func(c *Config) { c.TTL = MinTTL })
	pgtest.Exec(t, pgtest.Connect(t, url), `INSERT INTO platform_settings (key, value_int) VALUES ('a', 0), ('b', 0)`)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var watching, writing sync.WaitGroup
	watching.Go(func() {
		var last settings.Revision
		for s := range e.Watch(ctx) {
			if s.Revision() < last {
				t.Errorf("revision %d after %d", s.Revision(), last)
			}
			last = s.Revision()
			if a, b := s.Lookup("a"), s.Lookup("b"); a != nil && a.Value != b.Value {
				t.Errorf("revision %d holds half a commit: a = %d, b = %d", last, a.Value.Int(), b.Value.Int())
			}
		}
	})
	for w := range 4 {
		conn := pgtest.Connect(t, url)
		writing.Go(func() {
			for i := range 50 {
				n := w*1000 + i
				tx, err := conn.Begin(ctx)
				if err == nil {
					_, err = tx.Exec(ctx, `UPDATE platform_settings SET value_int = $1 WHERE key = 'a'`, n)
				}
				if err == nil && i%10 == 0 { // makes every tenth commit too large for a notification
					_, err = tx.Exec(ctx, `INSERT INTO platform_settings (key, value_text) VALUES ('pad', repeat(md5(random()::text), 300))
						ON CONFLICT (key) DO UPDATE SET value_text = excluded.value_text`)
				}
				if err == nil {
					_, err = tx.Exec(ctx, `UPDATE platform_settings SET value_int = $1 WHERE key = 'b'`, n)
				}
				if err == nil {
					err = tx.Commit(ctx)
				}
				if err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
			}
		})
	}
	writing.Wait()
	want := headRevision(t, pgtest.Connect(t, url))
	awaitSnapshot(t, e, "the last commit", func(s *settings.Snapshot) bool { return s.Revision() == want })
	cancel()
	watching.Wait()
}

// Guarantee 3: the pod follows a database that went back, and reports it.
func TestADatabaseThatWentBackIsFollowedAndReported(t *testing.T) {
	url := pgtest.Database(t)
	e, logs := liveEngine(t, url, func(c *Config) { c.TTL = 200 * time.Millisecond })
	conn := pgtest.Connect(t, url)
	pgtest.Exec(t, conn, `INSERT INTO platform_settings (key, value_int) VALUES ('lost', 1)`)
	pgtest.Exec(t, conn, flip)
	awaitSnapshot(t, e, "revision 3", func(s *settings.Snapshot) bool { return s.Revision() == 3 })

	// As after an asynchronous failover: the last two commits are gone.
	pgtest.Exec(t, conn, `BEGIN; SET LOCAL session_replication_role = replica;
		ALTER TABLE platform_settings DISABLE TRIGGER ALL;
		DELETE FROM platform_settings WHERE key = 'lost';
		UPDATE platform_settings SET value_bool = false;
		ALTER TABLE platform_settings ENABLE ALWAYS TRIGGER settings_stamp, ENABLE ALWAYS TRIGGER settings_row, ENABLE ALWAYS TRIGGER settings_truncate;
		DELETE FROM settings_commits WHERE revision > 1;
		UPDATE settings_head SET revision = 1; COMMIT`)
	awaitSnapshot(t, e, "revision 1 again", func(s *settings.Snapshot) bool {
		return s.Revision() == 1 && s.Lookup("lost") == nil && !s.Maintenance().Enabled
	})
	if n := logs.FilterMessageSnippet("the database went back").Len(); n != 1 {
		t.Errorf("it was logged %d times, want once", n)
	}
	if n := metric(t, e, "settings_repairs_total", "went_back"); n != 1 {
		t.Errorf("it was counted %v times, want once", n)
	}

	// Another commit gets the number of a lost one.
	until(t, "the listener is live again", e.listener.hears)
	pgtest.Exec(t, conn, `INSERT INTO platform_settings (key, value_int) VALUES ('new', 2)`)
	awaitSnapshot(t, e, "the new revision 2", func(s *settings.Snapshot) bool { return s.Revision() == 2 && s.Lookup("new") != nil })
}

// Guarantee 3: a database may go back and then catch up in number. It has other commits
// under the same revisions. That is reported too.
func TestADatabaseThatWentBackAndCaughtUpIsReported(t *testing.T) {
	for name, since := range map[string]int{"level": 2, "ahead": 5} {
		t.Run(name, func(t *testing.T) {
			url := pgtest.Database(t)
			file := filepath.Join(t.TempDir(), "last-good")
			config := func(c *Config) { c.TTL, c.Listen, c.LastGoodFile = MinTTL, nil, file }
			e, logs := newEngine(t, url, config)
			stop := start(t, e)
			conn := pgtest.Connect(t, url)
			pgtest.Exec(t, conn, `INSERT INTO platform_settings (key, value_int) VALUES ('lost', 1)`)
			pgtest.Exec(t, conn, flip)
			awaitSnapshot(t, e, "revision 3", func(s *settings.Snapshot) bool { return s.Revision() == 3 })

			// In one step, as a pod sees it that was cut off: the last two commits are
			// gone, and others have their numbers.
			var loseCommits strings.Builder
			loseCommits.WriteString(`BEGIN; ALTER TABLE platform_settings DISABLE TRIGGER ALL;
				DELETE FROM platform_settings WHERE key = 'lost';
				UPDATE platform_settings SET value_bool = false;
				ALTER TABLE platform_settings ENABLE ALWAYS TRIGGER settings_stamp, ENABLE ALWAYS TRIGGER settings_row, ENABLE ALWAYS TRIGGER settings_truncate;
				DELETE FROM settings_commits WHERE revision > 1; DELETE FROM settings_changes WHERE revision > 1;
				UPDATE settings_head SET revision = 1;`)
			for i := range since {
				loseCommits.WriteString(fmt.Sprintf(`UPDATE settings_head SET revision = revision + 1;
					INSERT INTO settings_commits (revision, at, xid) VALUES (%d, clock_timestamp(), '%d');`, i+2, i+1))
			}
			pgtest.Exec(t, conn, loseCommits.String()+`COMMIT`)
			awaitSnapshot(t, e, "what the database holds now", func(s *settings.Snapshot) bool { return int(s.Revision()) == since+1 && s.Lookup("lost") == nil })
			if n := logs.FilterMessageSnippet("the database went back").Len(); n != 1 {
				t.Errorf("it was logged %d times, want once", n)
			}
			if n := logs.FilterMessageSnippet("without a commit").Len(); n != 0 {
				t.Error("the triggers are blamed")
			}

			// The same is found by a pod that starts from its file.
			stop()
			pgtest.Exec(t, conn, `UPDATE settings_commits SET at = clock_timestamp() WHERE revision = (SELECT revision FROM settings_head)`)
			again, logs := newEngine(t, url, config)
			start(t, again)
			awaitSnapshot(t, again, "the database", func(s *settings.Snapshot) bool { return s.Source() == settings.SourceDatabase })
			if n := logs.FilterMessageSnippet("the database went back").Len(); n != 1 {
				t.Errorf("after a start from the file it was logged %d times, want once", n)
			}
		})
	}
}

// Guarantee 7: a change of rows while the triggers are off gets no revision, so the poll
// compares the content.
func TestThePollFindsRowsThatChangedWithTriggersOff(t *testing.T) {
	for name, sql := range map[string]string{
		"triggers off": `ALTER TABLE platform_settings DISABLE TRIGGER ALL;
			UPDATE platform_settings SET value_bool = true; ALTER TABLE platform_settings ENABLE TRIGGER ALL`,
		"made anew":        `ALTER TABLE platform_settings DROP COLUMN value_bool, ADD COLUMN value_bool boolean DEFAULT true`,
		"rewritten by DDL": `ALTER TABLE platform_settings ALTER COLUMN value_bool TYPE boolean USING NOT value_bool`,
	} {
		t.Run(name, func(t *testing.T) {
			url := pgtest.Database(t)
			e, logs := liveEngine(t, url, func(c *Config) { c.TTL = 100 * time.Millisecond })
			until(t, "it polls without looking at the content", func() bool { return testutil.ToFloat64(e.poller.counts.ok) >= 3 })
			pgtest.Exec(t, pgtest.Connect(t, url), sql)
			s := awaitSnapshot(t, e, "maintenance is on", func(s *settings.Snapshot) bool { return s.Maintenance().Enabled })
			if s.Revision() != 1 {
				t.Errorf("revision %d, want 1: no commit was numbered", s.Revision())
			}
			if logs.FilterMessageSnippet("without a commit being numbered").Len() == 0 {
				t.Error("nothing was logged")
			}
		})
	}
}

// Guarantee 9: the environment's switch counts until the database has been read. From
// then on the database decides, and a difference is logged.
func TestMaintenanceModeDecidesUntilTheFirstSnapshot(t *testing.T) {
	on := true
	for _, test := range []struct {
		database  bool
		wantWarns int
	}{{false, 1}, {true, 0}} {
		t.Run(fmt.Sprint(test.database), func(t *testing.T) {
			url := pgtest.Database(t)
			pgtest.Exec(t, pgtest.Connect(t, url), `UPDATE platform_settings SET value_bool = $1`, test.database)
			e, logs := newEngine(t, url, func(c *Config) { c.Maintenance = &on })
			if s := e.Current(); !e.Maintenance().ActiveNow() || s.Source() != settings.SourceEnvironment {
				t.Errorf("before the first snapshot: active %v from %s", e.Maintenance().ActiveNow(), s.Source())
			}
			start(t, e)
			if err := e.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := e.Maintenance().ActiveNow(); got != test.database {
				t.Errorf("after it: active %v, want the database's %v", got, test.database)
			}
			if n := logs.FilterMessageSnippet("MAINTENANCE_MODE differs").Len(); n != test.wantWarns {
				t.Errorf("%d warnings, want %d", n, test.wantWarns)
			}
		})
	}
}

func TestAnEmptyTableIsASnapshot(t *testing.T) {
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	pgtest.Exec(t, conn, `TRUNCATE platform_settings`)
	e, _ := liveEngine(t, url, nil)
	if s := e.Current(); s.Len() != 0 || s.Revision() != 2 || s.Maintenance().ActiveNow() {
		t.Errorf("revision %d with %d settings", s.Revision(), s.Len())
	}
	pgtest.Exec(t, conn, `INSERT INTO platform_settings (key, value_bool) VALUES ('maintenance_mode', true)`)
	awaitSnapshot(t, e, "maintenance is on", func(s *settings.Snapshot) bool { return s.Maintenance().Enabled })
}

func TestNewRefusesAnUnusableConfig(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("no pool: no error")
	}
	url := pgtest.Database(t)
	e, _ := newEngine(t, url, nil)
	if _, err := New(Config{Pool: e.pool, TTL: time.Millisecond}); err == nil {
		t.Error("a TTL of 1 ms: no error")
	}
}

// Guarantee 8: a read allocates nothing.
func TestReadsAllocateNothing(t *testing.T) {
	url := pgtest.Database(t)
	e, _ := newEngine(t, url, nil)
	mode, missing := e.Bool("maintenance_mode", true), e.Int("missing", 7)
	start(t, e)
	settle(t, e) // otherwise the allocations of connecting are counted too
	for name, read := range map[string]func() bool{
		"maintenance": func() bool { return e.Maintenance().ActiveNow() },
		"typed key":   func() bool { return mode.Value() },
		"fallback":    func() bool { return missing.Value() != 7 },
		"by name":     func() bool { return e.Current().Lookup("maintenance_mode").Value.Bool() },
	} {
		if read() {
			t.Errorf("%s: true, want false", name)
		}
		if n := testing.AllocsPerRun(100, func() { read() }); n != 0 {
			t.Errorf("%s: %v allocations, want none", name, n)
		}
	}
}
