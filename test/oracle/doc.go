// Package oracle checks a whole fleet against a model, from outside, while
// everything goes wrong at random.
//
// # A round
//
//	HTTP writers ──▶ pods, each a process ──▶ a proxy each ──▶ one PostgreSQL ◀── SQL writers
//	                  ▲                         ▲                ▲       ▲
//	readers ──────────┘              faults ────┴────────────────┘       └── a reader of the table
//
// Writers put, delete and create settings, throw the switch, set pairs of keys
// that must never differ, roll back, roll back to savepoints, pause inside
// transactions, rename, truncate, and write more than a notification can carry.
// Meanwhile each pod's connections are cut, refused, silenced or slowed, its
// backends are terminated, its process is stopped or killed, and the server is
// restarted or killed. Readers keep asking every pod for its whole state, and note
// what they are shown. At the end every fault is healed, the pods get a TTL and two
// seconds to catch up, and the round is judged.
//
// # The model
//
// Replaying the history, settings_history, from revision 1 on gives the table as of
// each revision. The history is checked too: each change must find the row that it
// says it changed, no revision may be missing or change nothing, and the last state
// must be the table. All along, the table itself is read in single statements, and
// each must have shown the state of its revision.
//
// What must hold:
//
//   - what a pod serves as revision N is the table as of N, every field of it
//   - a process never shows a lower revision than it has shown to anybody before
//   - a write that was answered is in force: the same pod shows it from then on
//   - an acknowledged write is in the history once, under the revision that its
//     answer gave, with the values that the writer saw inside its transaction. A
//     write that was refused, rolled back or failed is not in it. A write whose
//     answer was lost may be in it or not, but not twice
//   - If-Match held at the moment of the commit, not only when it was checked
//   - the gate is open or closed as the state of its revision says
//   - no writer meets an error that neither a fault nor another writer explains
//   - no process ends by itself, reports that the database went back, or finds rows
//     changed without a commit, because nothing here can cause that
//   - at the end every pod serves the table, and is ready
//
// A killed pod that starts again may show an older revision, from its last-good
// file. So each process is judged separately, but even that state must have been
// the table's.
//
// # Seeds
//
// The schedule is a pure function of the seed: what each writer does, in its order,
// and what fails when, counted from the round's start. How far a writer gets, and
// what coincides, is up to the operating system. So a failing seed repeats the
// schedule but not the run: it fails often, not always.
//
//	make soak SEED=42 DURATION=15s     the round that a failure names
//	make soak DURATION=10m             rounds with fresh seeds
//
// If the test is built with the race detector, as in make soak and make check, so
// are the pods.
//
// # What it cannot see
//
// A commit that the poll found and the listener missed passes here, because no more
// is promised while something fails. A database that really goes back, in a
// failover, and rows that change while the triggers are off leave no history to
// judge by; other tests cover these.
package oracle
