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
// that are never to differ, roll back, take savepoints back, think inside
// transactions, rename, truncate, and write more than a notification can carry.
// Meanwhile each pod's line is cut, refused, silenced or slowed, its backends
// are terminated, its process is stopped or killed, and the server is restarted
// or killed. Readers ask every pod for its whole state again and again, and note
// what they are shown. At the end all is healed, the pods get a TTL and two
// seconds to catch up, and the round is judged.
//
// # The model
//
// The history, settings_history, is replayed from revision 1 on: that is the
// table as of each revision. The history is not taken on trust: each change must
// find the row that it says it changed, no revision may be left out or change
// nothing, the last state must be the table, and the table was read all along by
// one statement, which must have shown the state of its revision too.
//
// What must hold:
//
//   - what a pod serves as revision N is the table as of N, every field of it
//   - who asks a process again is shown no lower revision than anybody was before
//   - an answer to a write is in force: the same pod shows it from then on
//   - an acknowledged write is in the history once, as the revision that was told,
//     with the values that the writer saw inside its transaction; one that was
//     refused, rolled back or failed is not; of one whose answer was lost either
//     may be true, but not twice
//   - If-Match held at the moment of the commit, not only when it was looked at
//   - the gate is open or closed as the state of its revision says
//   - no writer meets an error that neither a fault nor another writer explains
//   - no process ends by itself, says that the database went back, or finds rows
//     changed without a commit: nothing here can bring that about
//   - after the end every pod serves the table, and is ready
//
// A killed pod that starts again may show what its last-good file holds, an older
// revision: each process has a life of its own, but even that state must have been
// the table.
//
// # Seeds
//
// All that is asked for is a pure function of the seed: which writer does what, in
// its order, and what fails when, counted from the round's start. How far a writer
// gets, and what meets what, is up to the operating system, so a failing seed is
// the same schedule again and not the same run: it fails often, not always.
//
//	make soak SEED=42 DURATION=15s     the round that a failure names
//	make soak DURATION=10m             rounds with fresh seeds
//
// Where the test is built with the race detector, as in make soak and make check,
// the pods are too.
//
// # What it cannot see
//
// A commit that is found by the poll and not by the listener is as good as any
// here, since nothing promises more while something fails. A database that truly
// goes back, in a failover, and rows changed with the triggers off leave no
// history to judge by; other tests have these.
package oracle
