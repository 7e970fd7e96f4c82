// Package settings keeps the platform's settings in memory, so that a request
// reads memory only. It knows nothing of PostgreSQL, HTTP or SQL.
//
// # Model
//
// A [Setting] is a key, a kind and a value. A commit is one database transaction
// that changed settings, by whatever SQL. The database numbers commits 1, 2, 3 … in
// commit order: the [Revision]. A [Snapshot] is every setting as of one revision;
// it never changes.
//
// The [Keeper] holds the snapshot that is in force, behind an atomic pointer. A read
// is a load of that pointer. A commit is in force when the pointer has moved.
//
//	source ── Apply(commit) ────▶ keeper ──▶ atomic pointer ──▶ requests
//	source ── Adopt(reading) ───▶   │
//	source ── Compare(head) ────▶   │
//	source ◀── verdict ─────────────┘
//
// # The seam
//
// A source is whatever gets commits and readings from the database: today
// internal/settings. It hands them to the keeper, which alone makes the next
// snapshot, one at a time, and answers each with a [Verdict]. The keeper calls
// nobody back. What follows from a verdict, such as to read the table because a
// commit is missing, is the source's affair.
//
// A source asks for the [Base] before it asks the database. An answer takes time,
// and commits come into force meanwhile. With the base, the keeper tells an answer
// that is merely late from a database that went back: a failover that lost commits,
// say. How often it did is the [Lineage], and revisions compare only within one.
//
// # Guarantees
//
// Tests name the guarantees that they hold. Search for "Guarantee 3", say.
//
//  1. One commit, one revision, one notification. INSERT, UPDATE, DELETE, MERGE, COPY,
//     TRUNCATE, savepoints, a superuser and a logical subscription count alike. What
//     changes nothing makes no revision. (db/migrations)
//  2. A writer is never harmed. No payload exceeds the 8000 bytes that NOTIFY can
//     carry, no shared lock is held before COMMIT, and an open transaction delays no
//     other key's writer. (db/migrations)
//  3. Whole commits, forwards. A pod applies a commit whole or not at all, and in
//     order. It goes back only if the database did, and says so. (this package)
//  4. The notification carries the commit, and the table is the truth. If the
//     notification's revision is the next one, it is applied without a query.
//     Otherwise the table is read in one statement. (this package, internal/settings)
//  5. Nobody overhears a change, or forges one unseen. The channel's name is a secret
//     that only the service's role can read, and a pod notices when it has changed. A
//     payload that cannot be read is a hint to look, at a bounded rate.
//     (db/migrations, internal/settings; a payload is not signed yet)
//  6. LISTEN, then read. Each new connection listens first, then reads the table, and
//     then hears notifications. If the read fails, the connection is dropped.
//     (internal/settings)
//  7. The poll repairs, within one TTL, whatever the listener missed: lost
//     notifications, a dead or deaf listener, rows that changed while the triggers
//     were off. (internal/settings)
//  8. Reads are free: one atomic load, no lock, no allocation, and no clock unless a
//     window is set. Nothing on a request's path touches the database. (this package)
//  9. A pod starts without its database: from the last-good file, else from
//     MAINTENANCE_MODE, else with defaults. The database's truth wins as soon as it is
//     read. (this package)
//  10. An answer is never better than the truth. A write is acknowledged when it is
//     committed. It counts as in force on a pod when that pod's requests read it, not
//     when it was sent. (internal/settings)
//  11. Access fails closed, and faults are loud. Without a token there is no admin API.
//     Each error says what is wrong and what to do. What is degraded shows in the log,
//     the metrics and readiness. (internal/httpx)
//  12. What must not be seen is not absent. Nothing that a pod cannot read opens its
//     gate. (not complete yet: row level security can still hide rows)
//  13. A request is passed on whole or visibly fails, and a refusal never waits for the
//     request's body. (internal/httpx)
//  14. Nobody else's code runs as the pods. Each name that SQL resolves is qualified or
//     pinned. (not complete yet)
package settings
