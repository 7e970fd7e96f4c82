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
)

// The last-good file is one line that names its format and the checksum of the
// rest, and the rest, which is JSON. It holds every setting, also those that are
// not public, so nobody but its owner may read it.
const (
	lastGoodFormat   = "platform-settings last-good 1 sha256 "
	maxLastGoodBytes = 1 << 30

	// lastGoodPause coalesces the writes of a burst of commits.
	lastGoodPause = 100 * time.Millisecond
)

type lastGoodBody struct {
	Revision Revision          `json:"revision"`
	At       time.Time         `json:"at"` // of the revision's commit
	SavedAt  time.Time         `json:"saved_at"`
	Settings []lastGoodSetting `json:"settings"`
}

type lastGoodSetting struct {
	Key         string          `json:"key"`
	Kind        string          `json:"kind"`
	Value       json.RawMessage `json:"value"`
	Description string          `json:"description"`
	Public      bool            `json:"public"`
	Revision    Revision        `json:"revision"`
	UpdatedAt   time.Time       `json:"updated_at"`
	UpdatedBy   string          `json:"updated_by"`
}

// loadLastGood puts the file's snapshot in force, until the database was read.
// A file that cannot be used is reported and ignored; there being none is normal.
func (e *Engine) loadLastGood() {
	if e.lastGood == "" {
		return
	}
	snapshot, savedAt, err := readLastGood(e.lastGood, e.slots)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.log.Info("no last-good file yet", zap.String("file", e.lastGood))
	case err != nil:
		e.problem("last-good file", "cannot be used, and is ignored until it is written anew", err)
	default:
		e.publish(snapshot)
		e.checkKinds()
		e.log.Info("settings read from the last-good file", zap.String("file", e.lastGood),
			zap.Int64("revision", int64(snapshot.revision)), zap.Time("saved_at", savedAt))
	}
}

// keepLastGood writes each snapshot from the database to the file, the latest
// where several came meanwhile, and tries again once a TTL where that fails.
func (e *Engine) keepLastGood(ctx context.Context) {
	var written *Snapshot
	for {
		ended := ctx.Err() != nil // asked first: what comes into force during a write is saved by another
		now := e.state.Load()
		var retry <-chan time.Time
		if now.snap.source == SourceDatabase && now.snap != written {
			if err := writeLastGood(e.lastGood, now.snap); err != nil {
				e.problem("last-good file", "cannot be written: a start without the database would find old settings", err)
				retry = time.After(e.ttl)
			} else {
				e.problem("last-good file", "", nil)
				written = now.snap
			}
		}
		if ended {
			return // what was in force at the end is saved
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
	body := lastGoodBody{Revision: s.revision, At: s.at, SavedAt: time.Now().UTC()}
	for _, setting := range s.All() {
		value, err := json.Marshal(setting.Value)
		if setting.Value.kind == KindJSON {
			value, err = json.Marshal(setting.Value.text) // as text, for the encoder would take its spaces out
		}
		if err != nil {
			return fmt.Errorf("encode %q: %w", setting.Key, err)
		}
		body.Settings = append(body.Settings, lastGoodSetting{
			Key: setting.Key, Kind: setting.Value.kind.String(), Value: value, Description: setting.Description, Public: setting.Public,
			Revision: setting.Revision, UpdatedAt: setting.UpdatedAt, UpdatedBy: setting.UpdatedBy,
		})
	}
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	sum := sha256.Sum256(text)

	// Always under this name: who is killed while writing leaves one behind, not many.
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
	var body lastGoodBody
	if err := json.Unmarshal(text, &body); err != nil {
		return nil, time.Time{}, err
	}
	settings := make(map[string]*Setting, len(body.Settings))
	for _, s := range body.Settings {
		kind, err := ParseKind(s.Kind)
		if err != nil {
			return nil, time.Time{}, fmt.Errorf("setting %q: %w", s.Key, err)
		}
		if kind == KindJSON {
			var text string
			if err := json.Unmarshal(s.Value, &text); err != nil {
				return nil, time.Time{}, fmt.Errorf("setting %q: %w", s.Key, err)
			}
			s.Value = json.RawMessage(text)
		}
		value, err := ParseValue(kind, s.Value)
		if err != nil {
			return nil, time.Time{}, fmt.Errorf("setting %q: %w", s.Key, err)
		}
		settings[s.Key] = &Setting{
			Key: s.Key, Value: value, Description: s.Description, Public: s.Public,
			Revision: s.Revision, UpdatedAt: s.UpdatedAt, UpdatedBy: s.UpdatedBy,
		}
	}
	s := newSnapshot(body.Revision, SourceFile, settings, slots)
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
