package settings

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"platform-settings/test/pgtest"

	"platform-settings/settings"
)

// saveLastGood writes a file, as a pod does that has read this.
func saveLastGood(t *testing.T, file string, r *settings.Reading) {
	t.Helper()
	k := settings.NewKeeper(settings.Config{LastGoodFile: file})
	r.Base = k.Begin()
	k.Adopt(r)
	ended, end := context.WithCancel(t.Context())
	end()
	k.Save(ended)
}

// loadLastGood is the revision that a pod would start from; 0: the file cannot be used.
func loadLastGood(file string) settings.Revision {
	k := settings.NewKeeper(settings.Config{LastGoodFile: file})
	k.Load()
	return k.Current().Revision()
}

const nowhere = "postgres://nobody@127.0.0.1:1/none"

// Guarantee 9: the last-good file comes first, then MAINTENANCE_MODE.
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
	want := awaitSnapshot(t, first, "the last commit", func(s *settings.Snapshot) bool { return s.Revision() == 6 })
	stop() // saves what was in force
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v, want mode 0600", info, err)
	}

	on := false
	second, _ := newEngine(t, nowhere, func(c *Config) { c.LastGoodFile, c.Maintenance = file, &on })
	mode := second.Bool(settings.KeyMaintenanceMode, false)
	start(t, second)
	got := awaitSnapshot(t, second, "the file's snapshot", func(s *settings.Snapshot) bool { return s.Source() == settings.SourceFile })
	ignoreDigest := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Digest" }, cmp.Ignore())
	if diff := cmp.Diff(want.All(), got.All(), cmp.AllowUnexported(settings.Value{}), ignoreDigest); diff != "" {
		t.Errorf("(-saved +read):\n%s", diff)
	}
	if got.Revision() != 6 || !second.Maintenance().ActiveNow() || !mode.Value() {
		t.Errorf("revision %d, maintenance %v; the file comes before MAINTENANCE_MODE", got.Revision(), second.Maintenance().ActiveNow())
	}
}

// Guarantee 9: the database wins as soon as it is read, even with a lower revision.
func TestTheDatabasesTruthTakesOverFromTheFile(t *testing.T) {
	url, file := pgtest.Database(t), filepath.Join(t.TempDir(), "last-good")
	saveLastGood(t, file, &settings.Reading{Head: settings.Head{Revision: 99}, Settings: []*settings.Setting{{Key: "gone", Value: settings.IntOf(1)}}})
	e, _ := liveEngine(t, url, func(c *Config) { c.LastGoodFile = file })
	if s := e.Current(); s.Source() != settings.SourceDatabase || s.Revision() != 1 || s.Lookup("gone") != nil {
		t.Errorf("revision %d from %s", s.Revision(), s.Source())
	}
	until(t, "the file is written anew", func() bool {
		return loadLastGood(file) == 1
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
		return loadLastGood(filepath.Join(dir, "last-good")) == 1
	})
	until(t, "the status is clean", func() bool { return len(e.Status().Problems) == 0 })
}
