package test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"platform-settings/test/pgtest"
)

// A pod whose disk is full cannot write its last-good file. It serves all the
// same, and says so; the old file stays whole, and is replaced when there is room.
func TestAFullDiskHurtsNeitherThePodNorItsLastGoodFile(t *testing.T) {
	t.Parallel()
	const ttl = 300 * time.Millisecond
	disk := smallDisk(t)
	file := filepath.Join(disk, "last-good")
	f := newFleet(t, 1, pgtest.Database(t), fmt.Sprint("SETTINGS_TTL=", ttl), "LAST_GOOD_FILE="+file)
	p, conn := f.pods[0], f.connect()
	saved := func() bool {
		content, _ := os.ReadFile(file)
		return bytes.Contains(content, fmt.Appendf(nil, `{"revision":%d,`, revision(t, conn)))
	}
	within(t, time.Now(), time.Second, "the file holds what the table does", saved)
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}

	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	f.inForce(time.Now(), time.Second)
	full := time.Now()
	within(t, full, time.Second, "the pod says that it cannot write the file", func() bool { return readiness(t, p).says("last-good file") })
	f.inForce(time.Now(), time.Second)
	time.Sleep(4 * ttl) // it tries again, and says no more
	f.exactly(time.Now(), time.Second)
	if got := p.Status("/"); got != 200 {
		t.Errorf("it answers %d", got)
	}
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file was hurt: %v, %d bytes instead of %d", err, len(after), len(before))
	}
	if names, _ := filepath.Glob(filepath.Join(disk, "*.new")); len(names) > 0 {
		t.Errorf("left behind: %q", names)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	room := time.Now()
	within(t, room, ttl+time.Second, "the file holds what the table does", saved)
	if s := startedFrom(t, file); s == nil || int(s.Revision()) != revision(t, conn) {
		t.Errorf("a pod starts from %v", s)
	}
	p.AwaitReady("ok")
	reportedOnce(t, p, "last-good file", 1)
}

// smallDisk is a directory with room for a few pages: a real file system, which
// takes root's rights to mount.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	asRoot := func(arguments ...string) error {
		if os.Getuid() != 0 {
			arguments = append([]string{"sudo", "-n"}, arguments...)
		}
		out, err := exec.Command(arguments[0], arguments[1:]...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
		}
		return nil
	}
	options := fmt.Sprintf("size=64k,mode=0700,uid=%d", os.Getuid())
	if err := asRoot("mount", "-t", "tmpfs", "-o", options, "platform-settings-test", dir); err != nil {
		pgtest.Missing(t, fmt.Sprintf("a disk to fill cannot be mounted (%v)", err))
	}
	t.Cleanup(func() {
		if err := asRoot("umount", dir); err != nil {
			t.Errorf("umount: %v", err)
		}
	})
	return dir
}
