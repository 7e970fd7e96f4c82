package pgserver

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBinDirTakesTheVariableOrFails(t *testing.T) {
	found, err := BinDir(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PG_BINDIR", found)
	if dir, err := BinDir(t.Context()); err != nil || dir != found {
		t.Errorf("BinDir = %q, %v; want %q", dir, err, found)
	}
	t.Setenv("PG_BINDIR", openDir(t))
	if dir, err := BinDir(t.Context()); err == nil || !strings.Contains(err.Error(), "PG_BINDIR") {
		t.Errorf("BinDir = %q, %v; want an error, not a fallback", dir, err)
	}
}

func TestUsableRefusesOldVersions(t *testing.T) {
	dir := openDir(t)
	write := func(program, script string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, program), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write("initdb", "exit 0")
	for version, want := range map[string]string{
		"postgres (PostgreSQL) 14.0":             "",
		"postgres (PostgreSQL) 19beta1":          "",
		"postgres (PostgreSQL) 13.22 (Debian 1)": "older than 14",
		"something else":                         "no version",
	} {
		write("postgres", "echo '"+version+"'")
		err := usable(t.Context(), dir)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", version, err, want)
		}
	}
}

func TestNewestFirstComparesNumbers(t *testing.T) {
	root := t.TempDir()
	var patterns, have []string
	for _, dir := range []string{"postgresql/9.6/bin", "pgsql-15/bin", "postgresql@17/bin"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, pattern := range []string{"postgresql/*/bin", "pgsql-*/bin", "postgresql@*/bin"} {
		patterns = append(patterns, filepath.Join(root, pattern))
	}
	for _, dir := range newestFirst(patterns) {
		have = append(have, strings.TrimPrefix(dir, root))
	}
	want := []string{"/postgresql@17/bin", "/pgsql-15/bin", "/postgresql/9.6/bin"}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("order (-want +have):\n%s", diff)
	}
}

func TestFetchSaysWhatIsMissing(t *testing.T) {
	repository := httptest.NewServer(http.NotFoundHandler())
	defer repository.Close()
	t.Setenv("PG_REPOSITORY_URL", repository.URL)
	// The cache is in one of these, depending on the user and the system.
	dir := openDir(t)
	t.Setenv("TMPDIR", dir)
	t.Setenv("HOME", dir)
	t.Setenv("XDG_CACHE_HOME", dir)
	_, err := fetch(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no version found matching "+string(fetchedVersion)) {
		t.Errorf("error = %v, want the missing version", err)
	}
}
