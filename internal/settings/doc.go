// Package settings keeps a [settings.Keeper] in step with PostgreSQL, writes to the
// table, and reports which pods have what in force. The model, the seam and the
// guarantees are explained in the package platform-settings/settings.
//
// # Parts
//
//	COMMIT ──▶ NOTIFY ──▶ listener ── Apply ──▶ keeper
//	table  ◀── every TTL ── poller ── Compare, Adopt ──▶ keeper
//	                        poller ── when the acknowledger says so ──▶ register
//	lookout ── while somebody waits ──▶ register of the whole fleet
//	writer  ── one transaction each ──▶ table
//
// The listener, the poller and the lookout are goroutines, each with a connection of
// its own. The writer uses a pool. The acknowledger decides when the pod reports what
// it has in force, and the register is the row that it reports to.
//
// # How a commit arrives
//
// The notification carries the changed rows. If its revision is the snapshot's plus
// one, the keeper applies them: no query. Otherwise (a gap, a commit that is too large
// to carry, an unreadable payload) the poller reads the whole table in one statement,
// which is one consistent state (PostgreSQL manual, 13.2.1 Read Committed).
//
// # The listener's life
//
//	        ┌───────────── backoff, jittered ◀──────────────┐
//	        ▼                                               │ any error
//	connecting ──▶ LISTEN ──▶ full read on that connection ──▶ live
//
// LISTEN comes before the read, so that no commit falls between the two. Only a read
// that worked resets the backoff. The channel's name is a secret in the table
// settings_head, and is read again on each connection.
//
// # Faults and repairs
//
//	a notification was lost      the next one shows a gap; otherwise the poll finds it, within a TTL
//	the listener is deaf         the poll finds what it never announced, and restarts it
//	the channel was rotated      the poll sees another name, and restarts the listener
//	rows changed, triggers off   the poll compares content (a digest) if any row was touched
//	the connection is lost       reconnect, then a full read
//	a connection went dark       the poll gives it a second, and asks on a new one
//	the database went back       a reading that shows it is adopted, and the log says so
//	a pooler swallows LISTEN     recognised when connecting; only the poll goes on
//	the triggers are off         the poll looks at them too, and reports it
//	no database at the start     the last-good file, then MAINTENANCE_MODE, then defaults
//	cut off for MAX_STALENESS    the keeper is stale, so the gate closes; a confirmation opens it
//
// # The fleet
//
// Each pod keeps a row in a register, which says what its requests read now. It joins
// before it reads on a new connection, acknowledges after a commit, checks in with each
// poll, and leaves when it stops:
//
//	join ──▶ read ──▶ acknowledge ──▶ … ──▶ check in, every TTL ──▶ leave
//	         silent for three TTLs: lost       for 360: dropped
//
// [Engine.AwaitFleet] waits until each pod has a revision in force. The lookout looks at
// the register for all waits together. Each wait believes only looks that began after
// it. Nothing else waits for the register.
package settings
