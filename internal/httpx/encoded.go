package httpx

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"platform-settings/internal/wire"
	"platform-settings/settings"
)

// encodings keeps the JSON of the newest snapshot that was asked for. A setting is
// encoded once, and again only when it changes. All answers that contain it share
// its bytes, so readers that stop reading pin one copy between them. The zero
// value is ready for use.
type encodings struct {
	mu     sync.Mutex // never held during encoding
	newest *encoding
}

// of returns the encoding of the current snapshot.
func (e *encodings) of(current func() *settings.Snapshot) *encoding {
	e.mu.Lock()
	defer e.mu.Unlock()
	snapshot := current() // under the lock, so that an older snapshot never replaces a newer one
	if e.newest == nil || e.newest.snapshot != snapshot {
		e.newest = newEncoding(snapshot, e.newest)
	}
	return e.newest
}

// encoding is the JSON of one snapshot. An answer refers only to the bytes that it
// sends, so that a slow reader does not keep the whole snapshot alive.
type encoding struct {
	snapshot    *settings.Snapshot
	rows        []encodedRow // ordered by key
	public, all func() ([][]byte, error)
}

type encodedRow struct {
	setting *settings.Setting
	json    *encodedSetting
}

// newEncoding reuses the bytes of the settings that have not changed since the
// encoding before, which may be nil. It compares the settings by content, because
// a full read of the table allocates each of them anew.
func newEncoding(snapshot *settings.Snapshot, before *encoding) *encoding {
	e := &encoding{snapshot: snapshot}
	for _, setting := range snapshot.All() {
		row := encodedRow{setting, nil}
		if old := before.row(setting.Key); old != nil && (old.setting == setting || *old.setting == *setting) {
			row.json = old.json
		} else {
			row.json = new(encodedSetting)
		}
		e.rows = append(e.rows, row)
	}
	e.public = sync.OnceValues(func() ([][]byte, error) { return e.list(false) })
	e.all = sync.OnceValues(func() ([][]byte, error) { return e.list(true) })
	return e
}

// row finds a setting's row; nil if there is none.
func (e *encoding) row(key string) *encodedRow {
	if e == nil {
		return nil
	}
	i, found := slices.BinarySearchFunc(e.rows, key, func(r encodedRow, key string) int { return strings.Compare(r.setting.Key, key) })
	if !found {
		return nil
	}
	return &e.rows[i]
}

// list returns the JSON of all settings, or of the public ones only, in pieces.
func (e *encoding) list(private bool) ([][]byte, error) {
	head := `{"revision":` + strconv.FormatInt(int64(e.snapshot.Revision()), 10) + `,"settings":[`
	pieces, first := [][]byte{[]byte(head)}, 1
	for _, row := range e.rows {
		if !row.setting.Public && !private {
			continue
		}
		b, err := row.json.of(row.setting)
		if err != nil {
			return nil, err
		}
		pieces = append(pieces, b[first:len(b)-1])
		first = 0
	}
	return append(pieces, []byte("]}\n")), nil
}

// alone returns the JSON of one setting as an answer of its own.
func (r *encodedRow) alone() ([][]byte, error) {
	b, err := r.json.of(r.setting)
	if err != nil {
		return nil, err
	}
	return [][]byte{b[1:]}, nil
}

// encodedSetting is a setting's JSON between a comma and a newline. The list uses
// it with the comma and without the newline, an answer of its own the other way
// round.
type encodedSetting struct {
	once  sync.Once
	bytes []byte
	err   error
}

func (e *encodedSetting) of(s *settings.Setting) ([]byte, error) {
	e.once.Do(func() {
		var w wire.Setting
		if w, e.err = s.Wire(); e.err == nil {
			var b []byte
			b, e.err = encodeJSON([]byte{','}, w)
			e.bytes = bytes.Clone(b) // because the buffer may be twice as large
		}
	})
	return e.bytes, e.err
}

// encodedStatus keeps the JSON of the public maintenance status. That changes only
// with the snapshot, and when the window begins or ends. The zero value is ready
// for use.
type encodedStatus struct {
	mu       sync.Mutex
	of       *settings.Maintenance
	inWindow bool
	bytes    []byte
}

// at returns the status as of now.
func (e *encodedStatus) at(now time.Time, current func() *settings.Maintenance) ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	m := current() // under the lock, so that an older state never replaces a newer one
	if inWindow := m.InWindow(now); e.of != m || e.inWindow != inWindow {
		b, err := encodeJSON(nil, maintenanceOf(m, now))
		if err != nil {
			return nil, err
		}
		e.of, e.inWindow, e.bytes = m, inWindow, b
	}
	return e.bytes, nil
}

// encodeJSON appends a value's JSON and a newline.
func encodeJSON(to []byte, v any) ([]byte, error) {
	body := bytes.NewBuffer(to)
	encoder := json.NewEncoder(body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, fmt.Errorf("encode the answer: %w", err)
	}
	return body.Bytes(), nil
}
