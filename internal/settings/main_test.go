package settings

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"platform-settings/db/migrations"
	"platform-settings/internal/pgserver"
	"platform-settings/test/pgtest"

	"platform-settings/settings"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// patience is how long a test waits for an event that must come. It does not measure
// speed, because machines are shared.
const patience = 30 * time.Second

// never is a TTL that outlasts every test, so that only the listener brings changes.
const never = time.Hour

// newEngine makes an engine on a database; edit may change its config.
func newEngine(t *testing.T, url string, edit func(*Config)) (*Engine, *observer.ObservedLogs) {
	t.Helper()
	poolConfig, err := PoolConfig(url, t.Name())
	if err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), poolConfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	listen, err := ListenConfig(url, "listener")
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zapcore.DebugLevel)
	config := Config{Pool: pool, Listen: listen, TTL: never, Log: zap.New(core)}
	if edit != nil {
		edit(&config)
	}
	registry := prometheus.NewRegistry()
	config.Registerer = registry
	e, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	registries.Store(e, registry)
	t.Cleanup(func() {
		registries.Delete(e)
		if t.Failed() {
			for _, entry := range logs.All() {
				t.Log(entry.Level, entry.Message, entry.ContextMap())
			}
		}
	})
	return e, logs
}

// registries are the engines' metrics.
var registries sync.Map

// metric is one of an engine's counters or gauges; label is the value of its only
// label.
func metric(t *testing.T, e *Engine, name string, label ...string) float64 {
	t.Helper()
	registry, _ := registries.Load(e)
	families, err := registry.(*prometheus.Registry).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			if len(label) == 0 || m.GetLabel()[0].GetValue() == label[0] {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("there is no metric %s %v", name, label)
	return 0
}

// applied is how many commits were put in force from their notification.
func applied(t *testing.T, e *Engine) float64 {
	t.Helper()
	return metric(t, e, "settings_commits_applied_total")
}

// start runs an engine until the test ends or stop is called.
func start(t *testing.T, e *Engine) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := e.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return stop
}

// liveEngine starts an engine and lets it settle.
func liveEngine(t *testing.T, url string, edit func(*Config)) (*Engine, *observer.ObservedLogs) {
	t.Helper()
	e, logs := newEngine(t, url, edit)
	start(t, e)
	settle(t, e)
	return e, logs
}

// settle waits until the listener is live and the first poll is over. Otherwise that
// poll could find a change that a test hides from the listener.
func settle(t *testing.T, e *Engine) {
	t.Helper()
	until(t, "the listener is live", e.listener.hears)
	until(t, "the first poll is over", func() bool { return testutil.ToFloat64(e.poller.counts.ok) > 0 })
}

// awaitSnapshot waits for a snapshot that satisfies ok.
func awaitSnapshot(t *testing.T, e *Engine, what string, ok func(*settings.Snapshot) bool) *settings.Snapshot {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for s := range e.Watch(ctx) {
		if ok(s) {
			return s
		}
	}
	t.Fatalf("never saw: %s; the engine is at revision %d, %+v", what, e.Current().Revision(), e.Status())
	return nil
}

// until waits for a condition that has no event of its own, such as a metric.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never saw: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// headRevision is the revision of the database's head.
func headRevision(t *testing.T, conn *pgx.Conn) (r settings.Revision) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), `SELECT revision FROM settings_head`).Scan(&r); err != nil {
		t.Fatal(err)
	}
	return r
}

// dedicated configures servers that a test may kill.
var dedicated = pgserver.Config{}

// migrated migrates a database that was not cloned from the template.
func migrated(t *testing.T, url string) string {
	t.Helper()
	if err := migrations.Up(t.Context(), url, zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	return url
}
