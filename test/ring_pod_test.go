package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	source "platform-settings/internal/settings"
	"platform-settings/settings"
	"platform-settings/test/faultproxy"
	"platform-settings/test/pgtest"
	"platform-settings/test/pod"
)

// A pod that was killed starts right: its first answer is what the table holds
// by then, and not what a file remembers.
func TestAPodThatWasKilledStartsRight(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	for name, variable := range map[string]string{
		"with a last-good file": "LAST_GOOD_FILE=" + filepath.Join(t.TempDir(), "last-good"),
		"without":               "LAST_GOOD_FILE=",
	} {
		p := pod.Fleet(t, 1, url, variable)[0]
		p.Must(200, "PUT", maintenance, pod.Operator, `{"enabled":true}`)
		p.Kill()
		pgtest.Exec(t, conn, `UPDATE platform_settings SET value_bool = false WHERE key = 'maintenance_mode'`)
		began := time.Now()
		p = pod.Start(t, url, variable)
		var first pod.Answer
		within(t, began, 3*time.Second, "the pod answers, "+name, func() (ok bool) {
			var err error
			first, err = p.Do("GET", "/", "", "")
			return err == nil
		})
		if first.Status != 200 {
			t.Errorf("%s: the first answer is %d: %s", name, first.Status, first.Body)
		}
		if have, want := served(t, p), table(t, conn); have != want {
			t.Errorf("%s: the pod serves %q, the table holds %q", name, have, want)
		}
	}
}

// A pod is killed while it writes its last-good file, several times. A pod that
// then has to start without the database finds a whole one.
func TestAPodKilledWhileItWritesLeavesAWholeLastGoodFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "last-good")
	f := newFleet(t, 0, pgtest.Database(t))
	conn := f.connect()
	// A megabyte, so that a write takes its time.
	pgtest.Exec(t, conn, `INSERT INTO platform_settings (key, value_text) SELECT 'text.' || i, repeat('€', 1000) FROM generate_series(1, 300) i`)
	size := scalar[int](t, conn, `SELECT count(*) FROM platform_settings`)
	f.load(false)
	last, torn := settings.Revision(0), 0
	p := pod.Start(t, f.direct, "LAST_GOOD_FILE="+file, hourly)
	within(t, time.Now(), 5*time.Second, "there is a file", func() bool { _, err := os.Stat(file); return err == nil })
	p.Kill()
	for n := 0; n < 4 || torn < 1; n++ {
		if n == 30 {
			t.Fatalf("of %d kills %d came during a write", n, torn)
		}
		left, _ := os.Stat(file + ".new") // by the last one
		p = pod.Start(t, f.direct, "LAST_GOOD_FILE="+file, hourly)
		writing := func() bool {
			now, err := os.Stat(file + ".new")
			return err == nil && (left == nil || !os.SameFile(left, now))
		}
		within(t, time.Now(), 5*time.Second, "the pod writes its file", func() bool { return writing() })
		time.Sleep(rand.N(10 * time.Millisecond))
		p.Kill()
		if writing() {
			torn++
		}

		s := startedFrom(t, file)
		if s == nil {
			t.Fatal("the file cannot be used")
		}
		leftValue := s.Lookup("left").Value.Int()
		want := scalar[int64](t, conn, fmt.Sprintf(`SELECT (after ->> 'value_int')::bigint FROM settings_history
			WHERE key = 'left' AND revision <= %d ORDER BY revision DESC LIMIT 1`, s.Revision()))
		if right := s.Lookup("right").Value.Int(); leftValue != want || right != want || s.Len() != size {
			t.Errorf("as of revision %d the file has left = %d and right = %d of %d settings, the table had %d of %d", s.Revision(), leftValue, right, s.Len(), want, size)
		}
		if s.Revision() < last {
			t.Errorf("the file is of revision %d, and was of %d", s.Revision(), last)
		}
		last = s.Revision()
	}
	t.Logf("%d of the kills left a file half written beside the whole one", torn)
}

// startedFrom is what a pod without a database has in force; nil: nothing.
func startedFrom(t *testing.T, file string) *settings.Snapshot {
	t.Helper()
	config, err := source.PoolConfig("postgres://127.0.0.1:1/none", t.Name())
	if err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	e, err := source.New(source.Config{Pool: pool, LastGoodFile: file})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	var running sync.WaitGroup
	running.Go(func() { _ = e.Run(ctx) })
	defer running.Wait()
	defer stop()
	for s := range e.Watch(ctx) {
		if s.Source() == settings.SourceFile {
			return s
		}
	}
	t.Logf("nothing: %q", e.Status().Problems)
	return nil
}

// A pod that was stopped for several TTLs, as by a machine that was paused, is
// right again at once when it goes on.
func TestAPodThatWasStoppedCatchesUpAtOnce(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2, pgtest.Database(t), "SETTINGS_TTL=300ms")
	l := f.load(false)
	for _, p := range f.pods {
		p.Pause()
	}
	time.Sleep(1500 * time.Millisecond)
	for _, p := range f.pods {
		p.Resume()
	}
	f.inForce(time.Now(), time.Second)
	l.end()
	for _, p := range f.pods {
		p.AwaitReady("ok")
	}
}

// Stopped for longer than MAX_STALENESS, a pod cannot know about the switch. Its
// first answers have to be no all the same, and an answer of the database that
// waited in a buffer all the while is no reason to say yes.
func TestAStoppedPodsFirstAnswersAreNotFromAStaleGate(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	conn := pgtest.Connect(t, url)
	proxy, linked := link(t, url)
	// By poll alone, and stopped while a poll is under way.
	p := pod.Start(t, linked, "LISTEN_DATABASE_URL=postgres://127.0.0.1:1/none", "SETTINGS_TTL=100ms", "MAX_STALENESS=600ms")
	p.AwaitReady("degraded")
	proxy.Delay(50 * time.Millisecond)
	polled := make(chan struct{})
	proxy.OnBytes(func(_ int, from faultproxy.Side, _ []byte) {
		if from == faultproxy.Server {
			return
		}
		select {
		case polled <- struct{}{}:
		default:
		}
	})
	for range 2 {
		pgtest.Exec(t, conn, `UPDATE platform_settings SET value_bool = false WHERE key = 'maintenance_mode'`)
		p.AwaitStatus("/", 200)
		<-polled
		p.Pause()
		pgtest.Exec(t, conn, `UPDATE platform_settings SET value_bool = true WHERE key = 'maintenance_mode'`)
		asked, over := context.WithTimeout(t.Context(), 1100*time.Millisecond)
		var asking sync.WaitGroup
		for range 4 {
			asking.Go(func() {
				for asked.Err() == nil {
					a, err := p.Do("GET", "/", "", "")
					if err != nil || a.Status != 503 {
						t.Errorf("after the switch was thrown: %d %v", a.Status, err)
						return
					}
				}
			})
		}
		time.Sleep(700 * time.Millisecond)
		p.Resume()
		asking.Wait()
		over()
	}
}
