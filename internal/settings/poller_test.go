package settings

import (
	"bytes"
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"platform-settings/test/pgtest"

	"platform-settings/settings"
)

// Guarantee 7: a network may drop an existing connection silently and let new ones
// through.
func TestThePollReplacesAConnectionThatWentDark(t *testing.T) {
	url := pgtest.Database(t)
	var dark sync.Map // each connection's *atomic.Bool
	e, _ := newEngine(t, url, func(c *Config) {
		c.Listen, c.TTL = nil, 300*time.Millisecond
		config, err := PoolConfig(url, t.Name())
		if err != nil {
			t.Fatal(err)
		}
		dial := config.ConnConfig.DialFunc
		config.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			own := new(atomic.Bool)
			dark.Store(own, nil)
			return &cable{Conn: conn, dark: own, closed: make(chan struct{})}, err
		}
		if c.Pool, err = pgxpool.NewWithConfig(t.Context(), config); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Pool.Close)
	})
	start(t, e)
	if err := e.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	dark.Range(func(own, _ any) bool { own.(*atomic.Bool).Store(true); return true })
	pgtest.Exec(t, pgtest.Connect(t, url), flip)
	began := time.Now()
	awaitSnapshot(t, e, "the flip", func(s *settings.Snapshot) bool { return s.Maintenance().Enabled })
	if took := time.Since(began); took > e.ttl+2*time.Second {
		t.Errorf("it took %v, want at most a TTL and 2 s", took)
	}
}

// A connection that broke while it was idle is replaced without a log line.
func TestThePollSaysNothingOfAConnectionThatItCouldReplace(t *testing.T) {
	url := pgtest.Database(t)
	e, logs := newEngine(t, url, func(c *Config) { c.Listen, c.TTL = nil, MinTTL })
	start(t, e)
	if err := e.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	conn := pgtest.Connect(t, url)
	for range 5 {
		pgtest.Exec(t, conn, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
		polls := testutil.ToFloat64(e.poller.counts.ok)
		until(t, "two more polls", func() bool { return testutil.ToFloat64(e.poller.counts.ok) >= polls+2 })
	}
	if n := logs.FilterMessage("degraded").Len(); n != 0 {
		t.Errorf("%d lines", n)
	}
}

// Guarantee 7 holds while every connection of the pool waits for a DBA's lock.
func TestWritersThatWaitForALockDoNotKeepThePollFromLooking(t *testing.T) {
	url := pgtest.Database(t)
	e, _ := newEngine(t, url, func(c *Config) { c.Listen, c.TTL = nil, MinTTL })
	start(t, e)
	if err := e.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	dba, another := pgtest.Connect(t, url), pgtest.Connect(t, url)
	pgtest.Exec(t, dba, `BEGIN`)
	pgtest.Exec(t, dba, flip)
	var writing sync.WaitGroup
	defer writing.Wait()
	defer pgtest.Exec(t, dba, `ROLLBACK`)
	for range e.pool.Config().MaxConns {
		writing.Go(func() { _, _, _ = e.SetMaintenance(t.Context(), tester, settings.Maintenance{Enabled: true}) })
	}
	until(t, "every connection of the pool is taken", func() bool { return e.pool.Stat().AcquiredConns() == e.pool.Config().MaxConns })
	pgtest.Exec(t, another, `INSERT INTO platform_settings (key, value_int) VALUES ('meanwhile', 1)`)
	awaitSnapshot(t, e, "the other change", func(s *settings.Snapshot) bool { return s.Lookup("meanwhile") != nil })
	if got := e.pool.Stat().AcquiredConns(); got != e.pool.Config().MaxConns {
		t.Errorf("%d connections were still waiting when it was seen: the test proves nothing", got)
	}
}

// If a commit overtakes a poll's answer, the answer still confirms the snapshot, and the
// table is not read.
func TestAPollOvertakenByACommitConfirmsTheSnapshot(t *testing.T) {
	url := pgtest.Database(t)
	slow := &overtaken{asked: make(chan struct{}), release: make(chan struct{})}
	e, _ := liveEngine(t, url, func(c *Config) {
		c.TTL = MinTTL
		config, err := PoolConfig(url, t.Name())
		if err != nil {
			t.Fatal(err)
		}
		dial := config.ConnConfig.DialFunc
		config.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (_ net.Conn, err error) {
			slow.Conn, err = dial(ctx, network, address)
			return slow, err
		}
		if c.Pool, err = pgxpool.NewWithConfig(t.Context(), config); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Pool.Close)
	})
	polls := func() float64 { return testutil.ToFloat64(e.poller.counts.ok) }
	until(t, "it polls", func() bool { return polls() >= 3 })
	reads := testutil.ToFloat64(e.poller.counts.reads)
	slow.armed.Store(true)
	<-slow.asked
	confirmed, before := e.Confirmed(), polls()
	pgtest.Exec(t, pgtest.Connect(t, url), flip)
	awaitSnapshot(t, e, "the flip", func(s *settings.Snapshot) bool { return s.Revision() == 2 })
	close(slow.release)
	until(t, "the poll is over", func() bool { return polls() > before })
	if !e.Confirmed().After(confirmed) {
		t.Error("it confirmed nothing")
	}
	if got := testutil.ToFloat64(e.poller.counts.reads); got != reads {
		t.Errorf("it cost %v full reads", got-reads)
	}
}

// The most expensive question, the content's digest, is asked only after a change.
func TestAnIdlePollDoesNotCompareTheContent(t *testing.T) {
	for name, pod := range map[string]string{"in the fleet": "pod", "on its own": ""} {
		t.Run(name, func(t *testing.T) {
			url := pgtest.Database(t)
			var compared atomic.Int64
			e, _ := newEngine(t, url, func(c *Config) {
				c.Pod, c.Listen, c.TTL = pod, nil, MinTTL
				config, err := PoolConfig(url, t.Name())
				if err != nil {
					t.Fatal(err)
				}
				dial := config.ConnConfig.DialFunc
				config.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
					conn, err := dial(ctx, network, address)
					return &counting{conn, &compared}, err
				}
				if c.Pool, err = pgxpool.NewWithConfig(t.Context(), config); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(c.Pool.Close)
			})
			start(t, e)
			polls := func() float64 { return testutil.ToFloat64(e.poller.counts.ok) }
			more := func() int64 {
				before, last := compared.Load(), polls()
				until(t, "five more polls", func() bool { return polls() >= last+5 })
				return compared.Load() - before
			}
			more() // it settles
			if n := more(); n != 0 {
				t.Errorf("compared %d times while nothing was changed", n)
			}
			pgtest.Exec(t, pgtest.Connect(t, url), flip)
			if n := more(); n == 0 || !e.Current().Maintenance().Enabled {
				t.Errorf("compared %d times after a commit, maintenance is %v", n, e.Current().Maintenance().Enabled)
			}
			if n := more(); n != 0 {
				t.Errorf("compared %d times after it had read the commit", n)
			}
		})
	}
}

// counting counts the questions for the content's digest.
type counting struct {
	net.Conn
	n *atomic.Int64
}

func (c *counting) Write(b []byte) (int, error) {
	c.n.Add(int64(bytes.Count(b, []byte("bit_xor(hash_record_extended"))))
	return c.Conn.Write(b)
}

// overtaken holds back one poll's question.
type overtaken struct {
	net.Conn
	armed          atomic.Bool
	asked, release chan struct{}
}

func (c *overtaken) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("bit_xor")) && c.armed.CompareAndSwap(true, false) {
		close(c.asked)
		<-c.release
	}
	return c.Conn.Write(b)
}
