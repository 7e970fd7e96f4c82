package pgserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

const (
	fetchedVersion = embeddedpostgres.V17
	// mavenCentral is where the library's binaries are published. PG_REPOSITORY_URL
	// may name a mirror.
	mavenCentral = "https://repo1.maven.org/maven2"
	// fetchTimeout is for a download of some 20 MB and for unpacking it.
	fetchTimeout = 5 * time.Minute
)

// fetch downloads PostgreSQL's binaries unless an earlier call did.
func fetch(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, fetchTimeout, fmt.Errorf("not done after %s", fetchTimeout))
	defer cancel()
	cache, err := cacheDir()
	if err != nil {
		return "", fmt.Errorf("make cache for postgres binaries: %w", err)
	}
	home := filepath.Join(cache, string(fetchedVersion))
	bin := filepath.Join(home, "bin")
	// Neither the library nor the lock takes a context. When ctx ends, the goroutine is
	// left behind; it does no harm, and ends with the process.
	done := make(chan error, 1)
	go func() { done <- unpack(cache, home) }()
	select {
	case err = <-done:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		return "", fmt.Errorf("fetch postgres binaries: %w", err)
	}
	return bin, usable(ctx, bin)
}

// cacheDir is in the user's own cache, except for root: the account that runs postgres
// for root has to read it, and may not enter root's home.
func cacheDir() (string, error) {
	account, err := serverAccount()
	if err != nil {
		return "", err
	}
	if account == nil {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		dir := filepath.Join(base, "platform-settings", "postgres")
		return dir, os.MkdirAll(dir, 0o755)
	}
	base, err := account.tempBase()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(base, "platform-settings-postgres")
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	// Everybody may write in the parent directory, and programs in this one are going to
	// be run, so it must be root's own.
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || stat.Uid != 0 || !info.IsDir() || info.Mode()&0o022 != 0 {
		return "", fmt.Errorf("%s is not a directory that root alone may write", dir)
	}
	return dir, nil
}

// unpack puts bin, lib and share below home. If it fails, home does not exist.
func unpack(cache, home string) error {
	// The lock makes test processes that start at the same time share one download.
	lock, err := os.OpenFile(filepath.Join(cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	if _, err := os.Stat(home); err == nil {
		return nil
	}
	work, err := os.MkdirTemp(cache, "fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	port, err := freePort() // the library wants one before it does anything
	if err != nil {
		return err
	}
	unpacked := filepath.Join(work, "postgres")
	// The library can only unpack and start a server at once. Only its binaries are
	// needed, so an encoding that does not exist makes the start fail after unpacking.
	err = embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Version(fetchedVersion).
		BinaryRepositoryURL(cmp.Or(os.Getenv("PG_REPOSITORY_URL"), mavenCentral)).
		CachePath(filepath.Join(work, "archive")).
		BinariesPath(unpacked).
		RuntimePath(filepath.Join(work, "run")).
		Encoding("none").
		Port(uint32(port)).
		Logger(nil)).
		Start()
	if err == nil || !strings.HasPrefix(err.Error(), "unable to init database") {
		return fmt.Errorf("unpack postgres %s: %w", fetchedVersion, err)
	}
	return os.Rename(unpacked, home)
}
