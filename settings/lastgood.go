package settings

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"platform-settings/internal/wire"
)

// The last-good file is one line that names its format and the checksum of the
// rest, and the rest, which is JSON. It holds every setting, also those that are
// not public, so nobody but its owner may read it.
const (
	lastGoodFormat   = "platform-settings last-good 1 sha256 "
	maxLastGoodBytes = 1 << 30

	// lastGoodPause coalesces the writes of a burst of commits.
	lastGoodPause = 100 * time.Millisecond

	// lastGoodRetry is from a write that failed to the next.
	lastGoodRetry = time.Second
)

// Load puts the last-good file's snapshot in force, until the source was read, and
// makes no more handles. A file that cannot be used is reported and ignored; if
// there is none, that is normal. Call it once, before the source runs.
func (k *Keeper) Load() {
	k.sealed.Store(true)
	if k.lastGood == "" {
		return
	}
	snapshot, savedAt, err := readLastGood(k.lastGood, k.slots)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		k.log.Info("no last-good file yet", zap.String("file", k.lastGood))
	case err != nil:
		k.Problem("last-good file", "cannot be used, and is ignored until it is written anew", err)
	default:
		k.publish(snapshot)
		k.checkKinds()
		k.log.Info("settings read from the last-good file", zap.String("file", k.lastGood),
			zap.Int64("revision", int64(snapshot.revision)), zap.Time("saved_at", savedAt))
	}
}

// Save writes each snapshot from the source to the last-good file until ctx ends:
// the latest if several came meanwhile, and what was in force at the end.
func (k *Keeper) Save(ctx context.Context) {
	if k.lastGood == "" {
		return
	}
	var written *Snapshot
	for {
		ended := ctx.Err() != nil // asked first: what comes into force during a write is saved by another
		now := k.state.Load()
		var retry <-chan time.Time
		if now.snap.source == SourceDatabase && now.snap != written {
			if err := writeLastGood(k.lastGood, now.snap); err != nil {
				k.Problem("last-good file", "cannot be written: a start without the database would find old settings", err)
				retry = time.After(lastGoodRetry)
			} else {
				k.Problem("last-good file", "", nil)
				written = now.snap
			}
		}
		if ended {
			return
		}
		select {
		case <-now.superseded:
			select {
			case <-time.After(lastGoodPause):
			case <-ctx.Done():
			}
		case <-retry:
		case <-ctx.Done():
		}
	}
}

// writeLastGood replaces the file as a whole: after a crash at any moment, the
// old one or the new one is there.
func writeLastGood(path string, s *Snapshot) (err error) {
	body := wire.Snapshot{Revision: int64(s.revision), At: s.at, SavedAt: time.Now().UTC()}
	for _, setting := range s.rows {
		w, err := setting.Wire()
		if err != nil {
			return fmt.Errorf("encode %q: %w", setting.Key, err)
		}
		body.Settings = append(body.Settings, w)
	}
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	sum := sha256.Sum256(text)

	// Always under this name: a process that is killed while writing leaves one behind, not many.
	temp := path + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(append([]byte(lastGoodFormat+hex.EncodeToString(sum[:])+"\n"), text...))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close()) // makes the rename durable
}

func readLastGood(path string, slots []slotKey) (*Snapshot, time.Time, error) {
	text, err := readBounded(path)
	if err != nil {
		return nil, time.Time{}, err
	}
	head, text, ok := bytes.Cut(text, []byte("\n"))
	sum, ours := bytes.CutPrefix(head, []byte(lastGoodFormat))
	if !ok || !ours {
		return nil, time.Time{}, errors.New("it is not a last-good file, or one of another version's format")
	}
	if want := sha256.Sum256(text); string(sum) != hex.EncodeToString(want[:]) {
		return nil, time.Time{}, errors.New("its checksum is wrong: it was torn or changed")
	}
	var body wire.Snapshot
	if err := json.Unmarshal(text, &body); err != nil {
		return nil, time.Time{}, err
	}
	rows := make([]*Setting, 0, len(body.Settings))
	for _, w := range body.Settings {
		setting, err := FromWire(w)
		if err != nil {
			return nil, time.Time{}, err
		}
		rows = append(rows, setting)
	}
	s := newSnapshot(Revision(body.Revision), SourceFile, rows, slots)
	s.at = body.At
	return s, body.SavedAt, nil
}

// readBounded reads a regular file; a pipe would block, and a device never end.
func readBounded(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	case info.Size() > maxLastGoodBytes:
		return nil, fmt.Errorf("it has %d bytes, more than %d", info.Size(), maxLastGoodBytes)
	}
	return os.ReadFile(path)
}
