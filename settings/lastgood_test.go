package settings

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// keep makes a keeper that has read some settings, as of a revision, from a source.
func keep(file string, r Revision, rows ...*Setting) *Keeper {
	k := NewKeeper(Config{LastGoodFile: file})
	k.Adopt(&Reading{Head: Head{Base: k.Begin(), Revision: r}, Settings: rows})
	return k
}

// Guarantee 9: the file holds the last snapshot that was in force, even one that came
// into force while an older one was being written.
func TestACommitDuringTheLastWriteIsSaved(t *testing.T) {
	file := filepath.Join(t.TempDir(), "last-good")
	var large []*Setting // so that a write takes its time
	for i := range 300 {
		large = append(large, &Setting{Key: fmt.Sprint("k", i), Value: TextOf(strings.Repeat("x", MaxValueBytes))})
	}
	k := keep(file, 1, large...)
	ctx, stop := context.WithCancel(t.Context())
	var saving sync.WaitGroup
	saving.Go(func() { k.Save(ctx) })
	for names := []string(nil); len(names) == 0; time.Sleep(time.Millisecond) { // until it writes
		names, _ = filepath.Glob(file + "*")
	}
	k.Apply(&Commit{Revision: 2, Changes: []Change{{Key: "k0"}}})
	stop()
	saving.Wait()
	if s, _, err := readLastGood(file, nil); err != nil || s.Revision() != 2 {
		t.Errorf("saved %+v, %v, want revision 2", s, err)
	}
}

// Guarantee 9: a bad file does not keep a pod from starting.
func TestAFileThatCannotBeUsedIsReportedAndIgnored(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "last-good")
	if err := writeLastGood(file, keep("", 7, &Setting{Key: "k", Value: IntOf(1)}).Current()); err != nil {
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
		"a directory":   "",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "last-good")
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if name == "a directory" {
				path = dir
			}
			k := NewKeeper(Config{LastGoodFile: path})
			k.Load()
			if s := k.Current(); s.Source() != SourceDefault || s.Len() != 0 {
				t.Errorf("%d settings from %s", s.Len(), s.Source())
			}
			if !k.HasProblem("last-good file") {
				t.Error("it is not reported")
			}
		})
	}
}
