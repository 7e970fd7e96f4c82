package settings

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"platform-settings/test/pgtest"
)

const nowhere = "postgres://nobody@127.0.0.1:1/none"

func TestAPodStartsFromItsLastGoodFileWithoutADatabase(t *testing.T) {
	url, file := pgtest.Database(t), filepath.Join(t.TempDir(), "last-good")
	first, _ := newEngine(t, url, func(c *Config) { c.LastGoodFile = file })
	stop := start(t, first)
	conn := pgtest.Connect(t, url)
	pgtest.Exec(t, conn, `INSERT INTO platform_settings (key, value_float) VALUES ('f', 0.1)`)
	pgtest.Exec(t, conn, `INSERT INTO platform_settings (key, value_text) VALUES ('t', $1)`, "line\n\"quoted\" € \U0001F600")
	pgtest.Exec(t, conn, `INSERT INTO platform_settings (key, value_json) VALUES ('j', '{"a": [1.0, null]}')`)
	pgtest.Exec(t, conn, `INSERT INTO platform_settings (key, value_time) VALUES ('at', '2030-01-31T08:00:00.123456Z')`)
	pgtest.Exec(t, conn, flip)
	want := awaitSnapshot(t, first, "the last commit", func(s *Snapshot) bool { return s.Revision() == 6 })
	stop() // saves what was in force
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v, want mode 0600", info, err)
	}

	on := false
	second, _ := newEngine(t, nowhere, func(c *Config) { c.LastGoodFile, c.Maintenance = file, &on })
	mode := second.Bool(KeyMaintenanceMode, false)
	start(t, second)
	got := awaitSnapshot(t, second, "the file's snapshot", func(s *Snapshot) bool { return s.Source() == SourceFile })
	ignoreDigest := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".digest" }, cmp.Ignore())
	if diff := cmp.Diff(want.All(), got.All(), cmp.AllowUnexported(Setting{}, Value{}), ignoreDigest); diff != "" {
		t.Errorf("(-saved +read):\n%s", diff)
	}
	if got.Revision() != 6 || !second.Maintenance().ActiveNow() || !mode.Value() {
		t.Errorf("revision %d, maintenance %v; the file comes before MAINTENANCE_MODE", got.Revision(), second.Maintenance().ActiveNow())
	}
}

// What is in force at the end is saved, also what came while an older one was written.
func TestACommitDuringTheLastWriteIsSaved(t *testing.T) {
	file := filepath.Join(t.TempDir(), "last-good")
	e, _ := newEngine(t, nowhere, func(c *Config) { c.LastGoodFile = file })
	large := map[string]*Setting{} // so that a write takes its time
	for i := range 300 {
		key := fmt.Sprint("k", i)
		large[key] = &Setting{Key: key, Value: textValue(strings.Repeat("x", MaxValueBytes))}
	}
	e.publish(newSnapshot(1, SourceDatabase, large, nil))
	ctx, stop := context.WithCancel(t.Context())
	var keeping sync.WaitGroup
	keeping.Go(func() { e.keepLastGood(ctx) })
	until(t, "it writes", func() bool {
		names, _ := filepath.Glob(file + "*") // the new one, or the whole one where this looked late
		return len(names) > 0
	})
	e.publish(newSnapshot(2, SourceDatabase, nil, nil))
	stop()
	keeping.Wait()
	if s, _, err := readLastGood(file, nil); err != nil || s.Revision() != 2 {
		t.Errorf("saved %+v, %v, want revision 2", s, err)
	}
}

func TestTheDatabasesTruthTakesOverFromTheFile(t *testing.T) {
	url, file := pgtest.Database(t), filepath.Join(t.TempDir(), "last-good")
	stale := newSnapshot(99, SourceDatabase, map[string]*Setting{"gone": {Key: "gone", Value: intValue(1)}}, nil)
	if err := writeLastGood(file, stale); err != nil {
		t.Fatal(err)
	}
	e, _ := liveEngine(t, url, func(c *Config) { c.LastGoodFile = file })
	if s := e.Current(); s.Source() != SourceDatabase || s.Revision() != 1 || s.Lookup("gone") != nil {
		t.Errorf("revision %d from %s", s.Revision(), s.Source())
	}
	until(t, "the file is written anew", func() bool {
		s, _, err := readLastGood(file, nil)
		return err == nil && s.Revision() == 1
	})
}

func TestAFileThatCannotBeUsedIsReportedAndIgnored(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "last-good")
	if err := writeLastGood(file, newSnapshot(7, SourceDatabase, map[string]*Setting{"k": {Key: "k", Value: intValue(1)}}, nil)); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"empty":         "",
		"torn":          string(good[:len(good)-5]),
		"one bit":       strings.Replace(string(good), `"value":1`, `"value":3`, 1),
		"foreign":       "root:x:0:0:root:/root:/bin/bash\n",
		"older format":  strings.Replace(string(good), "last-good 1", "last-good 0", 1),
		"without lines": strings.Repeat("x", 1000),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "last-good")
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			e, logs := newEngine(t, nowhere, func(c *Config) { c.LastGoodFile = path })
			start(t, e)
			until(t, "it is reported", func() bool { return logs.FilterMessage("degraded").FilterFieldKey("topic").Len() > 0 })
			if s := e.Current(); s.Source() != SourceDefault || s.Len() != 0 {
				t.Errorf("%d settings from %s", s.Len(), s.Source())
			}
		})
	}
	t.Run("a directory", func(t *testing.T) {
		e, _ := newEngine(t, nowhere, func(c *Config) { c.LastGoodFile = dir })
		start(t, e)
		until(t, "it is reported", func() bool { return strings.Contains(strings.Join(e.Status().Problems, " "), "last-good file") })
	})
}

func TestAFileThatCannotBeWrittenIsTriedAgain(t *testing.T) {
	url := pgtest.Database(t)
	dir := filepath.Join(t.TempDir(), "dir")
	e, _ := newEngine(t, url, func(c *Config) { c.LastGoodFile, c.TTL = filepath.Join(dir, "last-good"), MinTTL })
	start(t, e)
	until(t, "it is reported", func() bool { return strings.Contains(strings.Join(e.Status().Problems, " "), "cannot be written") })
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	until(t, "it is written, without another commit", func() bool {
		s, _, err := readLastGood(filepath.Join(dir, "last-good"), nil)
		return err == nil && s.Revision() == 1
	})
	until(t, "the status is clean", func() bool { return len(e.Status().Problems) == 0 })
}
