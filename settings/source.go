package settings

import "time"

// Verdict says what a keeper did with a commit, a head or a reading. The source decides
// what to do about it.
type Verdict uint8

const (
	// Applied: the commit is in force.
	Applied Verdict = iota + 1
	// Old: the commit was already in force.
	Old
	// Gap: commits before this one are missing, or it was too large for a notification,
	// or it belongs to another lineage. Read the whole table.
	Gap

	// Adopted: the reading is in force.
	Adopted
	// Same: the reading equals what is in force, and confirms it.
	Same
	// Late: commits were applied while the reading was on its way. Everything in the
	// reading is in force, so it still confirms that.
	Late
	// AskAgain: either the reading is late, or the database went back; this reading
	// cannot tell. Read again.
	AskAgain
	// WentBack: the reading is in force, and commits that were in force are gone. A
	// connection made before may still bring commits from the wrong server.
	WentBack
)

// Commit is one notification. It must not be changed after it was handed over.
type Commit struct {
	Revision Revision
	At       time.Time // by the database's clock
	Changes  []Change  // nil: too large for a notification

	// Lineage is that of the first reading on the connection that brought the commit. A
	// commit of another lineage is not applied.
	Lineage Lineage
}

// Change is what a commit did to one key. A nil Setting is a deletion.
type Change struct {
	Key     string
	Setting *Setting
}

// Base is what was in force when a question to the source began. Commits may be applied
// before the answer arrives. The base shows whether the answer is merely late, or the
// database went back.
type Base struct {
	snapshot *Snapshot
	began    time.Time
}

// Revision is the one that was in force.
func (b Base) Revision() Revision { return b.snapshot.revision }

// Lineage is the one that was in force.
func (b Base) Lineage() Lineage { return b.snapshot.lineage }

// Head says which state the source is in, without the rows.
type Head struct {
	Base     Base
	Revision Revision
	At       time.Time // when the revision's commit was made; zero: not known
	BaseAt   time.Time // when the source's commit with the base's revision was made; zero: not known
	Digest   int64     // XOR of the rows' digests; Adopt computes a reading's own
}

// Reading is a whole read of the source as of one commit.
type Reading struct {
	Head
	Settings []*Setting
}
