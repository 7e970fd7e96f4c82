package pgserver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is the operating system's user that the server runs as. A nil account is the
// caller's own. Only root needs another one, because PostgreSQL refuses to run as root.
type account struct {
	name     string
	uid, gid uint32
}

func serverAccount() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		// On macOS the user nobody has a negative number.
		uid, err := strconv.ParseInt(found.Uid, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read uid of %s: %w", name, err)
		}
		gid, err := strconv.ParseInt(found.Gid, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read gid of %s: %w", name, err)
		}
		return &account{name: name, uid: uint32(uid), gid: uint32(gid)}, nil
	}
	return nil, errors.New("find an account to run postgres as: root has neither user postgres nor nobody")
}

func (a *account) credential() *syscall.Credential {
	if a == nil {
		return nil
	}
	return &syscall.Credential{Uid: a.uid, Gid: a.gid}
}

func (a *account) own(path string) error {
	if a == nil {
		return nil
	}
	return os.Chown(path, int(a.uid), int(a.gid))
}

// mkdir makes a directory for the account alone. An existing directory becomes the
// account's.
func (a *account) mkdir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return a.own(dir)
}

// tempBase finds a directory in which the account may have a temporary one. Root's own
// TMPDIR is often closed to others.
func (a *account) tempBase() (string, error) {
	var refusals []error
	for _, base := range []string{os.TempDir(), "/tmp", "/var/tmp"} {
		err := a.enters(base)
		if err == nil {
			return base, nil
		}
		refusals = append(refusals, err)
	}
	return "", errors.Join(refusals...)
}

// enters checks that the account may enter a directory and all its parents. Its error
// names the one that is closed; initdb's would not.
func (a *account) enters(dir string) error {
	if a == nil {
		return nil
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	for {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		search := fs.FileMode(0o001)
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			switch {
			case stat.Uid == a.uid:
				search = 0o100
			case stat.Gid == a.gid:
				search = 0o010
			}
		}
		if info.Mode()&search == 0 {
			return fmt.Errorf("user %s, who runs postgres for root, may not enter %s (%s)", a.name, dir, info.Mode())
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return nil
		}
		dir = parent
	}
}
