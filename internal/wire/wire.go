// Package wire is the JSON form of what leaves a process: in answers over HTTP,
// in notifications, and in the last-good file. Nothing else defines these fields.
package wire

import (
	"encoding/json"
	"time"
)

// Setting is one setting. Value is JSON of its kind; a time is RFC 3339 text.
type Setting struct {
	Key         string          `json:"key"`
	Kind        string          `json:"kind"`
	Value       json.RawMessage `json:"value"`
	Description string          `json:"description"`
	Public      bool            `json:"public"`
	Revision    int64           `json:"revision"`
	UpdatedAt   time.Time       `json:"updated_at"`
	UpdatedBy   string          `json:"updated_by"`
}

// Change is what a commit did to one key. Only Key is set if Deleted is.
type Change struct {
	Setting
	Deleted bool  `json:"deleted"`
	Digest  int64 `json:"digest"` // see settings.Setting
}

// Commit is the payload of a notification, as settings_commit() sends it. There
// are no Changes if they would not fit.
type Commit struct {
	Revision int64     `json:"revision"`
	At       time.Time `json:"at"`
	Changes  []Change  `json:"changes"`
	Wait     bool      `json:"wait"` // somebody waits until the fleet has it in force
}

// Snapshot is all settings as of one revision.
type Snapshot struct {
	Revision int64     `json:"revision"`
	At       time.Time `json:"at"` // when the revision's commit was made
	SavedAt  time.Time `json:"saved_at"`
	Settings []Setting `json:"settings"`
}

// Pod is one pod in a report on the fleet.
type Pod struct {
	Pod        string     `json:"pod"`
	Revision   int64      `json:"revision"` // 0: not known
	State      string     `json:"state"`    // current, behind or lost
	Lag        int64      `json:"lag"`
	LagSeconds float64    `json:"lag_seconds"`
	AppliedAt  *time.Time `json:"applied_at"` // null: it has not reported Revision yet
	LastSeen   *time.Time `json:"last_seen"`
	StartedAt  *time.Time `json:"started_at"`
	ClosedAt   *time.Time `json:"closed_at"` // since when a lost pod has closed its own gate
	Source     string     `json:"source"`
	Listener   string     `json:"listener"`
	Build      string     `json:"build"`
}

// Fleet is a report on which pods have a revision in force.
type Fleet struct {
	Revision  int64    `json:"revision"`
	Converged bool     `json:"converged"`
	Unknown   string   `json:"unknown,omitempty"` // why nobody can say
	Pods      []Pod    `json:"pods"`
	Behind    []string `json:"behind"`
	Lost      []string `json:"lost"`
}

// Maintenance is the maintenance as a pod has it in force.
type Maintenance struct {
	Active     bool       `json:"active"`
	Enabled    bool       `json:"enabled"`
	ReadOnly   bool       `json:"read_only"`
	Message    string     `json:"message"`
	RetryAfter int64      `json:"retry_after"` // seconds, at least 1
	StartsAt   *time.Time `json:"starts_at"`
	EndsAt     *time.Time `json:"ends_at"`
	Since      *time.Time `json:"since"`
	Until      *time.Time `json:"until"`
}

// Written is the answer to a write that is committed: of a setting, unless it was
// deleted, or of the maintenance.
type Written struct {
	Revision    int64        `json:"revision"`
	Setting     *Setting     `json:"setting,omitempty"`
	Maintenance *Maintenance `json:"maintenance,omitempty"`
	Fleet       Fleet        `json:"fleet"`
	Note        string       `json:"note,omitempty"` // for people
}
