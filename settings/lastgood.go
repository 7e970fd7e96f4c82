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

// The first line of the last-good file names its format and the checksum of the rest;
// the rest is JSON. It includes settings that are not public, so only its owner may
// read it.
const (
	lastGoodFormat   = "platform-settings last-good 1 sha256 "
	maxLastGoodBytes = 1 << 30

	// lastGoodPause makes the commits of a burst share a write.
	lastGoodPause = 100 * time.Millisecond

	// lastGoodRetry is the pause after a failed write.
	lastGoodRetry = time.Second
)

// Load puts the last-good file's snapshot in force until the source has been read. A
// file that cannot be used is reported and ignored; a missing file is normal. No handles
// can be made afterwards. Call it once, before the source runs.
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

// Save writes snapshots from the source to the last-good file until ctx ends. If
// several came during a write, only the latest is written. The one that is in force at
// the end always is.
func (k *Keeper) Save(ctx context.Context) {
	if k.lastGood == "" {
		return
	}
	var written *Snapshot
	for {
		ended := ctx.Err() != nil // read before the snapshot: one that comes during this write needs another write
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

// writeLastGood replaces the file atomically: after a crash at any moment, either the
// old one or the new one exists.
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

	// The name is always the same, so that processes killed while writing leave only one file behind.
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

// readBounded reads a regular file of at most maxLastGoodBytes. A pipe could block, and
// a device might never end.
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
