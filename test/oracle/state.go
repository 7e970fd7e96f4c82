package oracle

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// setting is a setting in the one form in which what a pod serves is compared with
// what the table has. A long value is replaced by its beginning and its checksum.
type setting struct {
	Kind, Value, Description string
	Public                   bool
	UpdatedAt                int64 // microseconds since 1970
	UpdatedBy                string
	Revision                 int64 // of the commit that changed it last
}

// state is all settings at one moment, by key.
type state map[string]*setting

func (s state) equal(other state) bool {
	if len(s) != len(other) {
		return false
	}
	for key, mine := range s {
		if theirs := other[key]; theirs == nil || *mine != *theirs {
			return false
		}
	}
	return true
}

// listed is a setting as the API shows it.
type listed struct {
	Key, Kind, Description string
	Value                  json.RawMessage
	Public                 bool
	Revision               int64
	UpdatedAt              time.Time `json:"updated_at"`
	UpdatedBy              string    `json:"updated_by"`
}

func (l listed) setting() (*setting, error) {
	value, err := canonical(l.Kind, l.Value)
	if err != nil {
		return nil, fmt.Errorf("setting %q: %w", l.Key, err)
	}
	return &setting{
		Kind: l.Kind, Value: value, Description: l.Description, Public: l.Public,
		UpdatedAt: l.UpdatedAt.UnixMicro(), UpdatedBy: l.UpdatedBy, Revision: l.Revision,
	}, nil
}

// parseServed parses the answer to GET /api/v1/settings.
func parseServed(body []byte) (revision int64, served state, err error) {
	var answer struct {
		Revision int64
		Settings []listed
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return 0, nil, err
	}
	served = make(state, len(answer.Settings))
	for _, l := range answer.Settings {
		if served[l.Key], err = l.setting(); err != nil {
			return 0, nil, err
		}
	}
	if len(served) != len(answer.Settings) {
		return 0, nil, fmt.Errorf("a key appears twice: %s", body)
	}
	return answer.Revision, served, nil
}

// parseRow parses a row of the table as to_jsonb() shows it, which is how the
// history keeps it. The row has no revision.
func parseRow(text []byte) (key string, s *setting, err error) {
	var row struct {
		Key, Description string
		Public           bool
		UpdatedAt        time.Time       `json:"updated_at"`
		UpdatedBy        string          `json:"updated_by"`
		Bool             json.RawMessage `json:"value_bool"`
		Int              json.RawMessage `json:"value_int"`
		Float            json.RawMessage `json:"value_float"`
		Text             json.RawMessage `json:"value_text"`
		Time             json.RawMessage `json:"value_time"`
		JSON             json.RawMessage `json:"value_json"`
	}
	if err := json.Unmarshal(text, &row); err != nil {
		return "", nil, fmt.Errorf("row %.100q: %w", text, err)
	}
	s = &setting{
		Description: row.Description, Public: row.Public,
		UpdatedAt: row.UpdatedAt.UnixMicro(), UpdatedBy: row.UpdatedBy,
	}
	for _, column := range []struct {
		kind string
		raw  json.RawMessage
	}{
		{"bool", row.Bool}, {"int", row.Int}, {"float", row.Float}, {"text", row.Text}, {"time", row.Time}, {"json", row.JSON},
	} {
		if column.raw == nil || string(column.raw) == "null" {
			continue
		}
		s.Kind = column.kind
		if s.Value, err = canonical(column.kind, column.raw); err != nil {
			return "", nil, fmt.Errorf("row %q: %w", row.Key, err)
		}
	}
	return row.Key, s, nil
}

// canonical is the one text of a value that the model compares.
func canonical(kind string, raw json.RawMessage) (string, error) {
	text := string(raw)
	switch kind {
	case "float":
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return "", err
		}
		text = strconv.FormatFloat(f, 'g', -1, 64)
	case "text":
		if err := json.Unmarshal(raw, &text); err != nil {
			return "", err
		}
	case "time":
		var at time.Time
		if err := json.Unmarshal(raw, &at); err != nil {
			return "", err
		}
		text = at.UTC().Format(time.RFC3339Nano)
	case "json":
		// Keep numbers as they are written, because 1.0 must not become 1.
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.UseNumber()
		var v any
		if err := decoder.Decode(&v); err != nil {
			return "", err
		}
		sorted, err := json.Marshal(v)
		if err != nil {
			return "", err
		}
		text = string(sorted)
	}
	const whole = 200
	if len(text) > whole {
		text = fmt.Sprintf("%s… %d bytes, sha256 %x", text[:40], len(text), sha256.Sum256([]byte(text)))
	}
	return text, nil
}
