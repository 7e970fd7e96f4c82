package settings

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// notification is the payload that settings_commit() sends. Changes are left
// out where they would not fit.
type notification struct {
	Revision Revision  `json:"revision"`
	At       time.Time `json:"at"`
	Changes  []struct {
		Key         string          `json:"key"`
		Deleted     bool            `json:"deleted"`
		Kind        string          `json:"kind"`
		Value       json.RawMessage `json:"value"`
		Description string          `json:"description"`
		Public      bool            `json:"public"`
		UpdatedAt   time.Time       `json:"updated_at"`
		UpdatedBy   string          `json:"updated_by"`
		Digest      int64           `json:"digest"`
	} `json:"changes"`
}

// parseNotification reads a payload. Anything it cannot read whole is an error:
// the caller then reads the table.
func parseNotification(payload string) (*commit, error) {
	var n notification
	if err := json.Unmarshal([]byte(payload), &n); err != nil {
		return nil, fmt.Errorf("notification: %w", err)
	}
	if n.Revision < 1 {
		return nil, errors.New("notification: no revision")
	}
	c := &commit{revision: n.Revision, at: n.At}
	for _, ch := range n.Changes {
		if ch.Deleted {
			c.changes = append(c.changes, change{key: ch.Key})
			continue
		}
		kind, err := ParseKind(ch.Kind)
		if err != nil {
			return nil, fmt.Errorf("notification: setting %q: %w", ch.Key, err)
		}
		value, err := ParseValue(kind, ch.Value)
		if err != nil {
			return nil, fmt.Errorf("notification: setting %q: %w", ch.Key, err)
		}
		c.changes = append(c.changes, change{ch.Key, &Setting{
			Key: ch.Key, Value: value, Description: ch.Description, Public: ch.Public,
			Revision: n.Revision, UpdatedAt: ch.UpdatedAt.UTC(), UpdatedBy: ch.UpdatedBy, digest: ch.Digest,
		}})
	}
	return c, nil
}
