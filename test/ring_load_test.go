package test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"platform-settings/test/pod"
)

// pace is the time between one writer's commits, and between two looks at a pod.
const pace = 10 * time.Millisecond

// load is what goes on while something fails: writers, and a witness for each
// pod.
type load struct {
	f       *fleet
	stop    context.CancelFunc
	running sync.WaitGroup

	mu           sync.Mutex
	acknowledged map[string][]int // by key: the values whose commit was acknowledged
}

// load begins it: a writer in SQL past the proxy, and where it is asked for one
// over HTTP on each pod.
func (f *fleet) load(overHTTP bool) *load {
	ctx, stop := context.WithCancel(f.t.Context())
	l := &load{f: f, stop: stop, acknowledged: map[string][]int{}}
	f.t.Cleanup(func() { stop(); l.running.Wait() })
	l.running.Go(func() { l.writeSQL(ctx) })
	for i, p := range f.pods {
		l.running.Go(func() { l.witness(ctx, p) })
		if overHTTP {
			l.running.Go(func() { l.writeHTTP(ctx, p, fmt.Sprintf("http.%d", i+1)) })
		}
	}
	return l
}

// writeSQL writes 1, 2, 3 … to left and right at once, and connects again for as
// long as it takes.
func (l *load) writeSQL(ctx context.Context) {
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			_ = conn.Close(context.Background())
		}
	}()
	for n := 1; next(ctx); n++ {
		if conn == nil || conn.IsClosed() {
			var err error
			if conn, err = pgx.Connect(ctx, l.f.direct); err != nil {
				continue
			}
		}
		// Whole, also when the load ends: else the commit might come after that.
		if _, err := conn.Exec(context.WithoutCancel(ctx), `UPDATE platform_settings SET value_int = $1 WHERE key IN ('left', 'right')`, n); err == nil {
			l.acknowledge("left", n)
		}
	}
}

func (l *load) writeHTTP(ctx context.Context, p *pod.Pod, key string) {
	for n := 1; next(ctx); n++ {
		a, err := p.Do("PUT", "/api/v1/admin/settings/"+key, pod.Admin, fmt.Sprintf(`{"kind":"int","value":%d}`, n))
		switch {
		case err != nil:
			l.f.t.Errorf("PUT: %v", err)
			return
		case a.Status == 200 || a.Status == 201:
			l.acknowledge(key, n)
		case a.Status != 503 && a.Status != 504:
			l.f.t.Errorf("PUT: %d %s", a.Status, a.Body)
		}
	}
}

// witness reads a pod all the while: no commit in part, and no way back.
func (l *load) witness(ctx context.Context, p *pod.Pod) {
	last := 0
	for next(ctx) {
		a, err := p.Do("GET", "/api/v1/settings", pod.Viewer, "")
		if err != nil {
			l.f.t.Errorf("GET: %v", err)
			return
		}
		var list struct {
			Revision int
			Settings []struct {
				Key   string
				Value any
			}
		}
		if err := json.Unmarshal(a.Body, &list); err != nil {
			l.f.t.Errorf("%v: %s", err, a.Body)
			return
		}
		pair := map[string]any{}
		for _, s := range list.Settings {
			pair[s.Key] = s.Value
		}
		if pair["left"] != pair["right"] {
			l.f.t.Errorf("half a commit is in force: left is %v, right is %v", pair["left"], pair["right"])
		}
		if list.Revision < last {
			l.f.t.Errorf("revision %d came after %d", list.Revision, last)
		}
		last = list.Revision
	}
}

func next(ctx context.Context) bool {
	select {
	case <-time.After(pace):
		return true
	case <-ctx.Done():
		return false
	}
}

func (l *load) acknowledge(key string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acknowledged[key] = append(l.acknowledged[key], n)
}

// end stops the load. All that was acknowledged is in the history, and every pod
// comes to serve exactly the table.
func (l *load) end() { l.f.t.Helper(); l.endWithin(time.Second) }

func (l *load) endWithin(promise time.Duration) {
	t := l.f.t
	t.Helper()
	l.stop()
	l.running.Wait()
	l.f.exactly(time.Now(), promise)
	total := 0
	for key, values := range l.acknowledged {
		total += len(values)
		stored := history(t, l.f.connect(), key)
		for _, n := range values {
			if !slices.Contains(stored, n) {
				t.Errorf("%s = %d was acknowledged and is lost", key, n)
			}
		}
	}
	t.Logf("%d writes were acknowledged, to %d keys", total, len(l.acknowledged))
	if total == 0 {
		t.Error("no write was acknowledged")
	}
}

// history is what a setting was, by the database's own account.
func history(t *testing.T, conn *pgx.Conn, key string) (values []int) {
	t.Helper()
	err := conn.QueryRow(t.Context(), `SELECT array_agg((after ->> 'value_int')::bigint) FROM settings_history WHERE key = $1`, key).Scan(&values)
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// terminate ends the pods' backends with this application name, all of them for
// "%", and says how many there were.
func terminate(t *testing.T, conn *pgx.Conn, name string) int {
	t.Helper()
	return scalar[int](t, conn, `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
		WHERE datname = current_database() AND application_name <> '' AND application_name LIKE '`+name+`'`)
}
