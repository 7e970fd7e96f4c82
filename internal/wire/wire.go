// Package wire defines the JSON that leaves a process: in HTTP answers, in notifications,
// and in the last-good file. These fields are defined nowhere else.
package wire

import (
	"encoding/json"
	"time"
)

// Setting is one setting. Value is JSON according to the kind; a time is a string in
// RFC 3339.
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

// Change is what a commit did to one key. If Deleted is true, only Key is set.
type Change struct {
	Setting
	Deleted bool  `json:"deleted"`
	Digest  int64 `json:"digest"` // see settings.Setting
}

// Commit is the payload of a notification, as settings_commit() sends it. If the changes
// would not fit, it has none.
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
	ClosedAt   *time.Time `json:"closed_at"` // by when a lost pod had closed its own gate; null: it has not
	Source     string     `json:"source"`
	Listener   string     `json:"listener"`
	Build      string     `json:"build"`
}

// Fleet is a report on which pods have a revision in force.
type Fleet struct {
	Revision  int64    `json:"revision"`
	Converged bool     `json:"converged"`
	Unknown   string   `json:"unknown,omitempty"` // why it is not known what the pods have in force
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

// Written is the answer to a write that is committed. It has the setting, unless that was
// deleted, or the maintenance.
type Written struct {
	Revision    int64        `json:"revision"`
	Setting     *Setting     `json:"setting,omitempty"`
	Maintenance *Maintenance `json:"maintenance,omitempty"`
	Fleet       Fleet        `json:"fleet"`
	Note        string       `json:"note,omitempty"` // for people
}
