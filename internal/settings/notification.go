package settings

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
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
	Wait bool `json:"wait"`
}

// parseNotification reads a payload. Anything it cannot read whole is an error:
// the caller then reads the table.
func parseNotification(payload string) (*commit, error) {
	if c := scanNotification(payload); c != nil {
		return c, nil
	}
	var n notification
	if err := json.Unmarshal([]byte(payload), &n); err != nil {
		return nil, fmt.Errorf("notification: %w", err)
	}
	if n.Revision < 1 {
		return nil, errors.New("notification: no revision")
	}
	c := &commit{revision: n.Revision, at: n.At, awaited: n.Wait}
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

// scanNotification reads the payloads that are nearly all there are: letter by
// letter as settings_commit() writes them, without escapes, of bools, ints and
// texts. It is nil for any other. Every pod pays for it at the same moment, and
// it takes a tenth of what encoding/json does.
func scanNotification(payload string) *commit {
	s := scanner{rest: payload}
	c := &commit{}
	s.literal(`{"revision" : `)
	c.revision = Revision(s.integer())
	s.literal(`, "at" : `)
	c.at = s.time()
	s.literal(`, "changes" : [`)
	for more := true; more && !s.failed; more = s.has(`, `) {
		s.literal(`{"key" : `)
		key := strings.Clone(s.text()) // clones: not to hold on to the whole payload
		if s.has(`, "deleted" : true}`) {
			c.changes = append(c.changes, change{key: key})
			continue
		}
		setting := &Setting{Key: key, Revision: c.revision}
		switch {
		case s.has(`, "kind" : "bool", "value" : `):
			setting.Value = boolValue(s.bool())
		case s.has(`, "kind" : "int", "value" : `):
			setting.Value = intValue(s.integer())
		case s.has(`, "kind" : "text", "value" : `):
			setting.Value = textValue(strings.Clone(s.text()))
		default:
			return nil
		}
		s.literal(`, "description" : `)
		setting.Description = strings.Clone(s.text())
		s.literal(`, "public" : `)
		setting.Public = s.bool()
		s.literal(`, "updated_at" : `)
		setting.UpdatedAt = s.time().UTC()
		s.literal(`, "updated_by" : `)
		setting.UpdatedBy = strings.Clone(s.text())
		s.literal(`, "digest" : `)
		setting.digest = s.integer()
		s.literal(`}`)
		c.changes = append(c.changes, change{key, setting})
	}
	if c.awaited = s.has(`], "wait" : true}`); !c.awaited {
		s.literal(`]}`)
	}
	if s.failed || s.rest != "" || c.revision < 1 {
		return nil
	}
	return c
}

// scanner takes one thing after another off the front of rest. The first that is
// not there makes it fail for good.
type scanner struct {
	rest   string
	failed bool
}

func (s *scanner) has(literal string) bool {
	after, ok := strings.CutPrefix(s.rest, literal)
	s.rest = after
	return ok
}

func (s *scanner) literal(literal string) {
	if !s.has(literal) {
		s.failed = true
	}
}

func (s *scanner) bool() bool {
	if s.has("true") {
		return true
	}
	s.literal("false")
	return false
}

func (s *scanner) integer() int64 {
	end := 0
	for end < len(s.rest) && (s.rest[end] == '-' || '0' <= s.rest[end] && s.rest[end] <= '9') {
		end++
	}
	n, err := strconv.ParseInt(s.rest[:end], 10, 64)
	s.rest, s.failed = s.rest[end:], s.failed || err != nil
	return n
}

// text is a string that holds no escape.
func (s *scanner) text() string {
	s.literal(`"`)
	text, after, ok := strings.Cut(s.rest, `"`)
	s.rest, s.failed = after, s.failed || !ok || strings.Contains(text, `\`)
	return text
}

func (s *scanner) time() time.Time {
	t, err := time.Parse(time.RFC3339Nano, s.text())
	s.failed = s.failed || err != nil
	return t
}
