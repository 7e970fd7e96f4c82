package settings

import "time"

// Verdict is what a keeper makes of what its source hands it. What follows from
// it is the source's affair.
type Verdict uint8

const (
	// Applied: the commit is in force.
	Applied Verdict = iota + 1
	// Old: the commit was in force already.
	Old
	// Gap: commits are missing before this one, it was too large to carry, or it is
	// of another lineage. Read the whole table.
	Gap

	// Adopted: the reading is in force.
	Adopted
	// Same: the reading holds what is in force, and confirms it.
	Same
	// Late: commits were applied while the reading was on its way. All that it
	// holds is in force, so it confirms that.
	Late
	// AskAgain: it cannot be told whether the reading is late, or the database went
	// back. Read again.
	AskAgain
	// WentBack: the reading is in force, and commits that were in force are gone.
	// Whoever still hears commits may hear them from the wrong server.
	WentBack
)

// Commit is one notification. Whoever hands it over no longer changes it.
type Commit struct {
	Revision Revision
	At       time.Time // by the database's clock
	Changes  []Change  // nil: too large to carry

	// Lineage is that of the connection which brought the commit: its own first
	// reading's. Nothing of another lineage is applied.
	Lineage Lineage
}

// Change is what a commit did to one key. A nil Setting is a deletion.
type Change struct {
	Key     string
	Setting *Setting
}

// Base is what was in force when a question to the source began. A reading takes
// time, and commits may be applied meanwhile: the base tells an answer that is
// merely late from a database that went back.
type Base struct {
	snapshot *Snapshot
	began    time.Time
}

// Revision that was in force.
func (b Base) Revision() Revision { return b.snapshot.revision }

// Lineage that was in force.
func (b Base) Lineage() Lineage { return b.snapshot.lineage }

// Head is what the source has, without the rows.
type Head struct {
	Base     Base
	Revision Revision
	At       time.Time // when the revision's commit was made; zero: not known
	BaseAt   time.Time // when the source's commit with the base's revision was made; zero: not known
	Digest   int64     // XOR of the rows' digests; a reading needs none
}

// Reading is a whole read of the source as of one commit.
type Reading struct {
	Head
	Settings []*Setting
}
