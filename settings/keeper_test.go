package settings

import (
	"testing"
	"testing/synctest"
)

// How many events a history has at most. Each event more takes several times as long.
const (
	historyLength      = 6
	shortHistoryLength = 5
)

// event is one thing that happens to a database, to what it sends, or to a reading.
type event byte

const (
	commits      event = 'c' // the database commits, and notifies its listener
	unnumbered   event = 'u' // its rows change while the triggers are off
	goesBack     event = 'w' // it loses its last commit; the listener stays on the old server, which still has it
	oldCommits   event = 'o' // the old server commits once more
	arrives      event = 'd' // the next notification arrives
	isLost       event = 'l' // the next notification is lost
	arrivesAgain event = '2' // the last notification that arrived arrives again
	begins       event = 'b' // a reading begins
	isRead       event = 'r' // the database executes it
	isAdopted    event = 'a' // its answer arrives, and is adopted
	isCompared   event = 'h' // its answer arrives, and only the head is compared
	reconnects   event = 'x' // the listener makes a new connection
	failsBack    event = 'f' // the old server becomes the database again
)

var allEvents = []event{commits, unnumbered, goesBack, oldCommits, arrives, isLost, arrivesAgain, begins, isRead, isAdopted, isCompared, reconnects, failsBack}

// Guarantee 3, Guarantee 4 and Guarantee 10: the keeper's rules are tried on every
// possible history, of a pod that listens, of one that has read only its last-good
// file, and of one that has read nothing yet.
func TestEveryHistoryLeavesTheKeeperWithTheTruth(t *testing.T) {
	length := historyLength
	if testing.Short() || raceDetector {
		length = shortHistoryLength
	}
	synctest.Test(t, func(t *testing.T) {
		tried, seen := 0, map[string]int{}
		for _, start := range []start{fromNothing, fromAFile, listening} {
			var try func(history []event)
			try = func(history []event) {
				w := newWorld(t, start, history)
				w.settle()
				tried++
				for v, n := range w.verdicts {
					seen[v] += n
				}
				if t.Failed() {
					t.FailNow()
				}
				if len(history) == length {
					return
				}
				for _, e := range allEvents {
					if w.before.can(e) {
						try(append(history[:len(history):len(history)], e))
					}
				}
			}
			try(nil)
		}
		t.Logf("%d histories; verdicts: %v", tried, seen)
		for _, path := range []string{
			"commit: applied", "commit: old", "commit: gap", "reading: adopted", "reading: same", "reading: late", "reading: ask again", "reading: went back",
			"head: same", "head: late", "head: ask again",
		} {
			if seen[path] == 0 {
				t.Errorf("no history leads to %s", path)
			}
		}
	})
}

// An empty database has the same head as a keeper that has read nothing yet.
func TestAHeadConfirmsNothingBeforeSomethingWasRead(t *testing.T) {
	k := NewKeeper(Config{})
	if verdict := k.Compare(Head{Base: k.Begin()}); verdict != AskAgain || !k.Confirmed().IsZero() {
		t.Errorf("verdict %s, confirmed %v", names[verdict], k.Confirmed())
	}
}
