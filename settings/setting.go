package settings

import (
	"fmt"
	"regexp"
	"time"

	"platform-settings/internal/wire"
)

// Revision is the number of a commit: 1, 2, 3 … without a gap, in commit order, for the
// whole table. 0 means before the first.
type Revision int64

var keyFormat = regexp.MustCompile(`^[a-z][a-z0-9_.]{0,126}\z`)

// CheckKey returns an [*InvalidError] unless a setting may have this key: a lower-case
// letter, and then up to 126 lower-case letters, digits, underscores and dots.
func CheckKey(key string) error {
	if !keyFormat.MatchString(key) {
		return &InvalidError{Field: "key", Why: "must be a lower-case letter, then at most 126 of a-z, 0-9, _ and ."}
	}
	return nil
}

// Setting is one row of the table. It is immutable: snapshots share it.
type Setting struct {
	Key         string
	Value       Value
	Description string
	Public      bool      // readable without a token
	Revision    Revision  // of the commit that last changed it
	UpdatedAt   time.Time // when the transaction of that commit began
	UpdatedBy   string

	// Digest is the source's own hash of the row: equal digests mean equal rows. It is
	// 0 if the source has none, such as the last-good file.
	Digest int64
}

// Wire is the setting in the form in which it leaves the process, without its digest.
func (s *Setting) Wire() (wire.Setting, error) {
	value, err := s.Value.MarshalJSON()
	return wire.Setting{
		Key: s.Key, Kind: s.Value.kind.String(), Value: value, Description: s.Description, Public: s.Public,
		Revision: int64(s.Revision), UpdatedAt: s.UpdatedAt, UpdatedBy: s.UpdatedBy,
	}, err
}

// FromWire is the inverse of [Setting.Wire]. The error says which setting is
// malformed, and how.
func FromWire(w wire.Setting) (*Setting, error) {
	kind, err := ParseKind(w.Kind)
	if err != nil {
		return nil, fmt.Errorf("setting %q: %w", w.Key, err)
	}
	value, err := ParseValue(kind, w.Value)
	if err != nil {
		return nil, fmt.Errorf("setting %q: %w", w.Key, err)
	}
	return &Setting{
		Key: w.Key, Value: value, Description: w.Description, Public: w.Public,
		Revision: Revision(w.Revision), UpdatedAt: w.UpdatedAt.UTC(), UpdatedBy: w.UpdatedBy,
	}, nil
}
