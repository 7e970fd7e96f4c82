// Package settings keeps the platform's settings in memory, so that a request
// reads memory only. It knows nothing of PostgreSQL, HTTP or SQL.
//
// # Model
//
// A [Setting] is a key, a kind and a value. A commit is one database transaction
// that changed settings, by any SQL. The database numbers commits 1, 2, 3 … in
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
// A source gets commits and readings from the database; today that is
// internal/settings. It hands them to the keeper. Only the keeper makes snapshots, one
// at a time, and it answers each commit or reading with a [Verdict]. It calls nobody
// back. The source decides what to do about a verdict, such as to read the table
// because a commit is missing.
//
// A source asks for the [Base] before it asks the database. An answer takes time,
// and commits come into force meanwhile. With the base, the keeper can tell whether an
// answer is merely late, or the database went back: a failover may lose commits, for
// example. The [Lineage] counts how often it went back. Revisions can only be compared
// within one lineage.
//
// # Guarantees
//
// Each test that holds a guarantee says so; search for "Guarantee 3", for example. The
// files named after a guarantee contain the main tests.
//
//  1. One commit, one revision, one notification. INSERT, UPDATE, DELETE, MERGE, COPY,
//     TRUNCATE, savepoints, a superuser and a logical subscription count alike. A
//     transaction that changes nothing makes no revision.
//     (db/migrations/revisions_test.go, db/migrations/random_test.go)
//  2. A writer is never harmed. No payload exceeds the 8000 bytes that NOTIFY can
//     carry, no shared lock is held before COMMIT, and an open transaction delays no
//     other key's writer.
//     (db/migrations/revisions_test.go, internal/settings/writer_test.go)
//  3. Whole commits, forwards. A pod applies a commit whole or not at all, and in
//     order. It goes back only if the database did, and says so.
//     (settings/keeper_test.go, internal/settings/engine_test.go)
//  4. The notification carries the commit, and the table is the truth. If the
//     notification's revision is the next one, it is applied without a query.
//     Otherwise the table is read in one statement.
//     (settings/keeper_test.go, internal/settings/engine_test.go)
//  5. Nobody overhears a change, or forges one unseen. The channel's name is a secret
//     that only the service's role can read, and a pod notices when it has changed. A
//     payload that cannot be read is a hint to look, at a bounded rate. Payloads are not
//     signed yet. (db/migrations/rights_test.go, internal/settings/listener_test.go)
//  6. LISTEN, then read. Each new connection listens first, then reads the table, and
//     then hears notifications. If the read fails, the connection is dropped.
//     (internal/settings/listener_test.go)
//  7. The poll repairs, within one TTL, everything that the listener missed: lost
//     notifications, a dead or deaf listener, rows that changed while the triggers
//     were off. (internal/settings/listener_test.go, internal/settings/engine_test.go)
//  8. Reads are free: one atomic load, no lock, no allocation, and no clock unless a
//     window is set. Nothing on a request's path touches the database.
//     (internal/settings/engine_test.go, internal/httpx/gate_test.go)
//  9. A pod starts without its database: from the last-good file, otherwise from
//     MAINTENANCE_MODE, otherwise with defaults. The database's truth wins as soon as it
//     is read. (settings/lastgood_test.go, test/fault_test.go)
//  10. An answer is never better than the truth. A write is acknowledged when it is
//     committed. It counts as in force on a pod when that pod's requests read it, not
//     when it was sent. (internal/settings/writer_test.go, internal/settings/fleet_test.go)
//  11. Access fails closed, and faults are loud. Without a token there is no admin API.
//     Each error says what is wrong and what to do. The log, the metrics and readiness
//     show everything that is degraded.
//     (internal/httpx/auth_test.go, internal/settings/states_test.go)
//  12. Hidden does not mean absent. Settings that a pod cannot read never open its gate.
//     Today this holds if a pod may not read a table: it reports that, and keeps what it
//     has. It does not hold yet for row level security, which hides rows without an
//     error. (internal/settings/states_test.go)
//  13. A request is passed on whole or visibly fails, and a refusal never waits for the
//     request's body. (internal/httpx/incoming_test.go, internal/httpx/http2_body_test.go)
//  14. Nobody else's code runs as the pods. Each name that SQL resolves is qualified or
//     pinned. Today a search_path set on the database is known to change nothing; a test
//     of each name is to come.
//     (db/migrations/search_path_test.go, internal/settings/listener_test.go)
package settings
