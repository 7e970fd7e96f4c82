// Package settings keeps a copy of the platform_settings table in memory and
// in step with the database, so that a request reads memory only.
//
// # Model
//
// A commit is one database transaction that changed settings, by whatever SQL.
// The database numbers commits 1, 2, 3 … in commit order: the [Revision]. A
// [Snapshot] is every setting as of one revision; it never changes. The
// [Engine] holds the current one behind an atomic pointer. Reading is a load of
// that pointer; a commit is in force on this pod when the pointer has moved.
//
//	COMMIT ──▶ NOTIFY ──▶ listener ── apply ──┐
//	                                          ├──▶ atomic pointer ──▶ requests
//	table  ◀── every TTL ── poller ── adopt ──┘
//
// Apply and adopt make the next snapshot from the current one, one at a time.
//
// # How a commit arrives
//
// The notification carries the changed rows. If its revision is the snapshot's
// plus one, they are applied: no query. In every other case (a gap, a
// commit too large to carry, an unreadable payload) the poller reads the whole
// table in one statement, which is one consistent state (PostgreSQL manual,
// 13.2.1 Read Committed).
//
// # The listener's life
//
//	        ┌───────────── backoff, jittered ◀──────────────┐
//	        ▼                                               │ any error
//	connecting ──▶ LISTEN ──▶ full read on that connection ──▶ live
//
// LISTEN comes before the read, so that no commit falls between the two. The
// backoff is reset only by a read that worked. The channel's name is a secret
// kept in the table settings_head, and read anew on each connection.
//
// # What repairs what
//
//	a notification was lost      the next one shows a gap; else the poll, within a TTL
//	the listener is deaf         the poll finds what it never announced, and restarts it
//	the channel was rotated      the poll sees another name, and restarts the listener
//	rows changed, triggers off   the poll compares content (a digest) where any row was touched
//	the connection is lost       reconnect, then a full read
//	a connection went dark       the poll gives it a second, and asks on a new one
//	the database went back       a full read with a lower revision is adopted, and said aloud
//	a pooler swallows LISTEN     recognised when connecting; the poll goes on alone
//	the triggers are off         the poll looks at them too, and says so
//	no database at the start     the last-good file, else MAINTENANCE_MODE, else defaults
//	cut off for MAX_STALENESS    Stale, so that the gate closes; a confirmation opens it
//
// # The fleet
//
// Each pod keeps a row in a register: what requests on it read now. It joins
// before it reads on a new connection, acknowledges after each commit, checks in
// with each poll, and leaves when it stops:
//
//	join ──▶ read ──▶ acknowledge ──▶ … ──▶ check in, every TTL ──▶ leave
//	         silent for three TTLs: lost       for 360: dropped
//
// [Engine.AwaitFleet] waits until each pod has a revision in force. One goroutine
// looks at the register for all who wait, on a connection of its own, and each wait
// believes only looks that began after it. Nothing else waits for any of it.
//
// # Guarantees
//
// A snapshot is a whole commit or none of it, and revisions only go forward,
// unless the database itself went back. A write answers when it is committed
// and in force on its own pod. Reads take no lock, allocate nothing and use no
// clock unless a maintenance window is set.
package settings
