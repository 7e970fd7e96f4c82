package pgserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// oldestMajor is the oldest PostgreSQL that the project supports.
const oldestMajor = 14

// installations are where packages put the binaries: Debian's, Red Hat's, and Homebrew's
// on Macs with Apple and with Intel processors.
var installations = []string{
	"/usr/lib/postgresql/*/bin",
	"/usr/pgsql-*/bin",
	"/opt/homebrew/opt/postgresql@*/bin",
	"/usr/local/opt/postgresql@*/bin",
}

// BinDir finds a directory with initdb and postgres: the one that PG_BINDIR names,
// otherwise one on the PATH, otherwise the newest that is installed. If there is none, it
// downloads binaries once and keeps them in a cache. The error says why each place was
// rejected.
func BinDir(ctx context.Context) (string, error) {
	if dir := os.Getenv("PG_BINDIR"); dir != "" {
		if err := usable(ctx, dir); err != nil {
			return "", fmt.Errorf("PG_BINDIR: %w", err)
		}
		return dir, nil
	}
	var refusals []error
	for dir := range candidates(ctx) {
		err := usable(ctx, dir)
		if err == nil {
			return dir, nil
		}
		refusals = append(refusals, err)
	}
	dir, err := fetch(ctx)
	if err != nil {
		return "", fmt.Errorf("no PostgreSQL %d or later on the PATH or in %s, nor could one be fetched; "+
			"set PG_BINDIR to a directory with initdb and postgres: %w",
			oldestMajor, strings.Join(installations, ", "), errors.Join(append(refusals, err)...))
	}
	return dir, nil
}

// candidates are the directories that may have the binaries, best first.
func candidates(ctx context.Context) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, program := range []string{"postgres", "pg_ctl"} {
			path, err := exec.LookPath(program)
			if err != nil {
				continue
			}
			// On the PATH there may be only a link; the other programs are next to its target.
			if path, err = filepath.EvalSymlinks(path); err == nil && !yield(filepath.Dir(path)) {
				return
			}
		}
		if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
			if !yield(strings.TrimSpace(string(out))) {
				return
			}
		}
		for _, dir := range newestFirst(installations) {
			if !yield(dir) {
				return
			}
		}
	}
}

var majorInPath = regexp.MustCompile(`(\d+)(?:\.\d+)?/bin$`)

func newestFirst(patterns []string) []string {
	var dirs []string
	for _, pattern := range patterns {
		found, _ := filepath.Glob(pattern) // the only error is a malformed pattern
		dirs = append(dirs, found...)
	}
	major := func(dir string) int {
		if match := majorInPath.FindStringSubmatch(dir); match != nil {
			n, _ := strconv.Atoi(match[1])
			return n
		}
		return 0
	}
	slices.SortStableFunc(dirs, func(a, b string) int { return cmp.Compare(major(b), major(a)) })
	return dirs
}

var versionOutput = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// usable checks that a directory has the programs that a server needs, that they are new
// enough, and that the server's account may run them.
func usable(ctx context.Context, dir string) error {
	for _, program := range []string{"initdb", "postgres"} {
		if _, err := os.Stat(filepath.Join(dir, program)); err != nil {
			return err
		}
	}
	account, err := serverAccount()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: account.credential()}
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("run %s: %w", cmd, err)
	}
	match := versionOutput.FindSubmatch(out)
	if match == nil {
		return fmt.Errorf("%s says %q, no version of PostgreSQL", cmd, out)
	}
	if major, err := strconv.Atoi(string(match[1])); err != nil || major < oldestMajor {
		return fmt.Errorf("%s has PostgreSQL %s, older than %d", dir, match[1], oldestMajor)
	}
	return nil
}
