package settings

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"platform-settings/test/pgtest"

	"platform-settings/settings"
)

// cable is a connection that shows its writes before they leave. Its reads can go dark:
// nothing arrives, and no error either.
type cable struct {
	net.Conn
	before func([]byte)
	dark   *atomic.Bool
	closed chan struct{}
	ending sync.Once
}

func (w *cable) Write(b []byte) (int, error) {
	if w.before != nil {
		w.before(b)
	}
	return w.Conn.Write(b)
}

func (w *cable) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if w.dark != nil && w.dark.Load() && err == nil {
		<-w.closed
		return 0, net.ErrClosed
	}
	return n, err
}

func (w *cable) SetDeadline(t time.Time) error {
	if !t.IsZero() && t.Before(time.Now()) { // how pgx ends a read when its context ends
		w.once()
	}
	return w.Conn.SetDeadline(t)
}

func (w *cable) Close() error {
	w.once()
	return w.Conn.Close()
}

func (w *cable) once() { w.ending.Do(func() { close(w.closed) }) } // pgx closes from two goroutines

// Guarantee 6: a commit between the connection's first query and LISTEN is not
// lost, because the snapshot is read after LISTEN.
func TestACommitJustBeforeListenIsInTheSnapshot(t *testing.T) {
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	flipped := false
	e, _ := newEngine(t, url, func(c *Config) {
		dial := c.Listen.DialFunc
		c.Listen.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dial(ctx, network, address)
			return &cable{Conn: c, closed: make(chan struct{}), before: func(b []byte) {
				if bytes.Contains(b, []byte("listen ")) && !flipped {
					flipped = true
					if _, err := conn.Exec(t.Context(), flip); err != nil {
						t.Errorf("flip: %v", err)
					}
				}
			}}, err
		}
	})
	// There is no poller, so only the listener can bring the snapshot.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go e.listener.run(ctx)
	s := awaitSnapshot(t, e, "the first snapshot", func(s *settings.Snapshot) bool { return s.Source() == settings.SourceDatabase })
	if !flipped || !s.Maintenance().Enabled {
		t.Errorf("flipped before LISTEN: %v; in the snapshot: %v", flipped, s.Maintenance().Enabled)
	}
}

// Guarantee 6: a listener is not live without a full read.
func TestAListenerWhoseSnapshotFailsIsDroppedAndTriedAgain(t *testing.T) {
	url := pgtest.Database(t)
	admin := pgtest.Connect(t, url)
	pgtest.Exec(t, admin, `GRANT SELECT ON settings_head TO PUBLIC`)
	role := pgtest.Role(t, url, "service")
	e, _ := newEngine(t, role, nil)
	start(t, e)
	until(t, "two connections were dropped", func() bool { return testutil.ToFloat64(e.listener.counts.ended) >= 2 })
	if e.listener.hears() {
		t.Error("live without a snapshot")
	}
	if len(e.Status().Problems) == 0 {
		t.Error("the status knows no problem")
	}
	pgtest.Exec(t, admin, `GRANT SELECT ON platform_settings, settings_changes, settings_commits TO PUBLIC`)
	until(t, "the listener is live", e.listener.hears)
	until(t, "the status knows no problem", func() bool { return len(e.Status().Problems) == 0 })
}

// Guarantee 7, with a fault that keepalive cannot see: the link is up, but nothing
// arrives.
func TestADeafListenerIsFoundByThePollAndRestarted(t *testing.T) {
	url := pgtest.Database(t)
	var dark atomic.Bool
	e, logs := liveEngine(t, url, func(c *Config) {
		c.TTL = 200 * time.Millisecond
		dial := c.Listen.DialFunc
		c.Listen.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dial(ctx, network, address)
			return &cable{Conn: c, dark: &dark, closed: make(chan struct{})}, err
		}
	})
	dark.Store(true)
	conn := pgtest.Connect(t, url)
	// The pod's own write makes it look at the table early; the listener is found even so.
	if _, _, err := e.SetMaintenance(t.Context(), tester, settings.Maintenance{Enabled: true}); err != nil {
		t.Fatal(err)
	}
	until(t, "the listener was restarted", func() bool { return testutil.ToFloat64(e.listener.counts.restarts.WithLabelValues("deaf")) >= 1 })
	if logs.FilterMessageSnippet("restarting the listener").Len() == 0 {
		t.Error("nothing was logged")
	}
	dark.Store(false)
	until(t, "another connection is live", func() bool {
		return testutil.ToFloat64(e.listener.counts.ended) >= 1 && e.listener.hears()
	})
	pgtest.Exec(t, conn, flip)
	until(t, "it announces the next commit", func() bool { return e.listener.has(3) })
}

// Guarantee 7: a listener that announces commits in time is not restarted.
func TestABusyListenerIsNotTakenForADeafOne(t *testing.T) {
	url := pgtest.Database(t)
	e, _ := liveEngine(t, url, func(c *Config) { c.TTL = MinTTL })
	conn := pgtest.Connect(t, url)
	polls := testutil.ToFloat64(e.poller.counts.ok)
	for testutil.ToFloat64(e.poller.counts.ok) < polls+20 {
		pgtest.Exec(t, conn, flip)
	}
	if n := testutil.ToFloat64(e.listener.counts.restarts.WithLabelValues("deaf")); n != 0 {
		t.Errorf("restarted %v times", n)
	}
	if n := testutil.ToFloat64(e.listener.counts.ended); n != 0 {
		t.Errorf("%v connections ended", n)
	}
}

// Guarantee 7: a listener that is behind, because the channel is flooded and the link is
// slow, is not restarted either.
func TestAListenerThatIsBehindIsNotTakenForADeafOne(t *testing.T) {
	url := pgtest.Database(t)
	e, _ := liveEngine(t, url, func(c *Config) {
		c.TTL = MinTTL
		dial := c.Listen.DialFunc
		c.Listen.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dial(ctx, network, address)
			return slowly{c}, err
		}
	})
	conn := pgtest.Connect(t, url)
	pgtest.Exec(t, conn, `SELECT pg_notify(channel, i || repeat('x', 7900)) FROM settings_head, generate_series(1, 300) i`)
	pgtest.Exec(t, conn, flip)
	awaitSnapshot(t, e, "the poll finds the flip", func(s *settings.Snapshot) bool { return s.Maintenance().Enabled })
	if e.listener.has(2) {
		t.Fatal("the listener is not behind")
	}
	until(t, "the listener announces it too", func() bool { return e.listener.has(2) })
	if n := testutil.ToFloat64(e.listener.counts.ended); n != 0 {
		t.Errorf("%v connections ended", n)
	}
}

// slowly is a slow link, with 8 KiB in 10 ms.
type slowly struct{ net.Conn }

func (s slowly) Read(p []byte) (int, error) {
	time.Sleep(10 * time.Millisecond)
	return s.Conn.Read(p[:min(len(p), 8<<10)])
}

// Guarantee 5: the channel's name can be changed at any time.
func TestARotatedChannelIsFoundByThePoll(t *testing.T) {
	url := pgtest.Database(t)
	e, _ := liveEngine(t, url, func(c *Config) { c.TTL = 200 * time.Millisecond })
	conn := pgtest.Connect(t, url)
	pgtest.Exec(t, conn, `UPDATE settings_head SET channel = 'platform_settings_' || replace(gen_random_uuid()::text, '-', '')`)
	var channel string
	if err := conn.QueryRow(t.Context(), `SELECT channel FROM settings_head`).Scan(&channel); err != nil {
		t.Fatal(err)
	}
	until(t, "it listens on the new channel", func() bool {
		database := e.poller.database.Load()
		return e.listener.hears() && database != nil && e.listener.astray(head{channel: channel, database: *database}) == nil
	})
	before := applied(t, e)
	pgtest.Exec(t, conn, flip)
	awaitSnapshot(t, e, "the flip", func(s *settings.Snapshot) bool { return s.Maintenance().Enabled })
	until(t, "it came by notification", func() bool {
		return applied(t, e)+testutil.ToFloat64(e.listener.counts.old) > before
	})
}

// Guarantee 6: a new connection reads what the old one did not hear.
func TestAKilledListenerConnectsAgainAndMissesNothing(t *testing.T) {
	url := pgtest.Database(t)
	e, _ := liveEngine(t, url, nil)
	conn := pgtest.Connect(t, url)
	for i := range 10 {
		pgtest.Exec(t, conn, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = 'listener'`)
		pgtest.Exec(t, conn, flip)
		want := settings.Revision(i + 2)
		awaitSnapshot(t, e, "the flip", func(s *settings.Snapshot) bool { return s.Revision() == want })
	}
	until(t, "it is live", e.listener.hears)
}

// A connection that goes dark just after LISTEN was sent is given up. Meanwhile the
// listener is reported as not listening, and no log line names the channel.
func TestALinkThatGoesDarkAtListenIsGivenUp(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	var mute atomic.Bool
	mute.Store(true)
	e, logs := newEngine(t, url, func(c *Config) {
		dial := c.Listen.DialFunc
		c.Listen.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			dark := new(atomic.Bool)
			return &cable{Conn: conn, dark: dark, closed: make(chan struct{}), before: func(b []byte) {
				if bytes.Contains(b, []byte("listen ")) && mute.Load() {
					dark.Store(true)
				}
			}}, err
		}
	})
	start(t, e)
	until(t, "it reads", func() bool { return e.Current().Source() == settings.SourceDatabase })
	if len(e.Status().Problems) == 0 {
		t.Error("it says that all is well")
	}
	until(t, "the connection is given up", func() bool { return testutil.ToFloat64(e.listener.counts.ended) >= 1 })
	mute.Store(false)
	until(t, "it is live", e.listener.hears)
	var channel string
	if err := pgtest.Connect(t, url).QueryRow(t.Context(), `SELECT channel FROM settings_head`).Scan(&channel); err != nil {
		t.Fatal(err)
	}
	for _, entry := range logs.All() {
		if text := fmt.Sprint(entry.Message, entry.ContextMap()); strings.Contains(text, channel) {
			t.Errorf("the log names the channel: %s", text)
		}
	}
}

func TestTheChannelIsTakenOffErrors(t *testing.T) {
	cause := errors.New("timeout")
	for _, err := range []error{cause, fmt.Errorf("handle backlog %q: read: %w", "secret", fmt.Errorf("read: %w", cause)), fmt.Errorf("listen %q", "secret")} {
		if got := without("secret", err); strings.Contains(got.Error(), "secret") || errors.Is(err, cause) != errors.Is(got, cause) {
			t.Errorf("%q became %q", err, got)
		}
	}
}

// With a listener on another database than the poll, the pod would serve both in turn.
// It refuses to listen, even on a copy with the same channel.
func TestALineToAnotherDatabaseIsRefused(t *testing.T) {
	url, other := pgtest.Database(t), pgtest.Database(t)
	channel := func(url, sql string) (c string) {
		if err := pgtest.Connect(t, url).QueryRow(t.Context(), sql).Scan(&c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	pgtest.Exec(t, pgtest.Connect(t, other), `UPDATE settings_head SET channel = '`+channel(url, `SELECT channel FROM settings_head`)+`'`)
	pgtest.Exec(t, pgtest.Connect(t, other), `UPDATE platform_settings SET value_bool = true`)
	e, _ := newEngine(t, url, func(c *Config) {
		var err error
		if c.Listen, err = ListenConfig(other, "listener"); err != nil {
			t.Fatal(err)
		}
		c.TTL = MinTTL
	})
	start(t, e)
	until(t, "it says so", func() bool { return strings.Contains(strings.Join(e.Status().Problems, " "), "another database") })
	awaitSnapshot(t, e, "its own database's state", func(s *settings.Snapshot) bool {
		return s.Source() == settings.SourceDatabase && !s.Maintenance().Enabled
	})
	pgtest.Exec(t, pgtest.Connect(t, other), `INSERT INTO platform_settings (key, value_int) VALUES ('foreign', 1)`)
	pgtest.Exec(t, pgtest.Connect(t, url), `INSERT INTO platform_settings (key, value_int) VALUES ('own', 1)`)
	s := awaitSnapshot(t, e, "its own database's next", func(s *settings.Snapshot) bool { return s.Lookup("own") != nil })
	if s.Lookup("foreign") != nil || e.listener.hears() {
		t.Error("it listens to the other database")
	}
}

// Guarantee 14: the defaults that a database gives its sessions change nothing.
func TestSessionDefaultsMakeNoDifference(t *testing.T) {
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	var name string
	if err := conn.QueryRow(t.Context(), `SELECT current_database()`).Scan(&name); err != nil {
		t.Fatal(err)
	}
	for _, setting := range []string{`client_encoding = 'LATIN1'`, `standard_conforming_strings = off`, `search_path = nowhere`, `default_transaction_isolation = 'serializable'`, `timezone = 'Asia/Kolkata'`} {
		pgtest.Exec(t, conn, `ALTER DATABASE `+name+` SET `+setting)
	}
	e, _ := liveEngine(t, url, nil)
	pgtest.Exec(t, conn, `INSERT INTO platform_settings (key, value_text) VALUES ('t', 'Grüße, €')`)
	s := awaitSnapshot(t, e, "the text", func(s *settings.Snapshot) bool { return s.Lookup("t") != nil })
	if got := s.Lookup("t").Value.Text(); got != "Grüße, €" {
		t.Errorf("%q", got)
	}
	if _, err := e.Put(t.Context(), tester, settings.Put{Key: "u", Value: settings.TextOf("€"), MayCreate: true}); err != nil {
		t.Error(err)
	}
}
