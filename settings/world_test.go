package settings

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"testing"
	"time"
)

// start is what a pod has when a history begins.
type start int

const (
	fromNothing start = iota
	fromAFile
	listening
)

// server is a database: one setting, "k", which each commit sets to a number that no
// other commit on any server has, and one, "u", that changes without commits.
type server struct {
	history []Commit
	u       int64
}

func (s server) revision() Revision { return Revision(len(s.history)) }

// reading is what the server answers to a question with a base.
func (s server) reading(base Base) *Reading {
	r := &Reading{Head: Head{Base: base, Revision: s.revision()}, Settings: []*Setting{numbered("u", s.u)}}
	if n := len(s.history); n > 0 {
		last := s.history[n-1]
		r.At = last.At
		r.Settings = append(r.Settings, last.Changes[0].Setting)
	}
	if b := base.Revision(); b >= 1 && int(b) <= len(s.history) {
		r.BaseAt = s.history[b-1].At
	}
	return r
}

// numbered is a setting whose digest follows from its key and value.
func numbered(key string, n int64) *Setting {
	h := fnv.New64a()
	fmt.Fprint(h, key, n)
	return &Setting{Key: key, Value: IntOf(n), Digest: int64(h.Sum64())}
}

// possible is what can happen next.
type possible struct {
	read, asked, old, arrived, connected bool
	inFlight, commits                    int
	wentBack                             int
}

func (p possible) can(e event) bool {
	switch e {
	case goesBack:
		return p.commits > 0 && p.wentBack < 2
	case oldCommits, failsBack:
		return p.old
	case arrives, isLost:
		return p.inFlight > 0
	case arrivesAgain:
		return p.arrived
	case begins:
		return !p.asked
	case isRead:
		return p.asked && !p.read
	case isAdopted, isCompared:
		return p.read
	}
	return true
}

// world is a keeper, its source, and the databases that the source may lead to.
type world struct {
	t       *testing.T
	keeper  *Keeper
	history []event

	now    server // the one that readings ask
	old    server // the one that the listener may still be connected to
	ids    int64
	before possible // the events that were possible before it settled

	// The listener's connection.
	connected, toOld bool
	lineage          Lineage
	inFlight         []Commit
	last             *Commit // that arrived

	// The reading that is under way.
	asked, read bool
	base        Base
	answer      *Reading
	held        []int64 // the commits that the database had when it executed the reading

	chain    []int64        // the commits that should be in force
	served   map[int64]bool // the commits that have been in force at some time
	wentBack int            // how often the database went back
	told     bool           // the keeper reported that it went back
	verdicts map[string]int
}

func ids(s server) (all []int64) {
	for _, c := range s.history {
		all = append(all, c.Changes[0].Setting.Value.Int())
	}
	return all
}

func newWorld(t *testing.T, from start, history []event) *world {
	w := &world{
		t: t, keeper: NewKeeper(Config{}), history: history, served: map[int64]bool{}, verdicts: map[string]int{},
	}
	w.commit(&w.now)
	switch from {
	case fromAFile:
		r := w.now.reading(w.keeper.Begin())
		file := newSnapshot(r.Revision, SourceFile, r.Settings, nil)
		file.at = r.At
		w.keeper.publish(file)
		w.chain = ids(w.now)
		w.check()
	case listening:
		w.connect()
		w.happens(commits)
		w.happens(arrives)
		w.check()
	}
	for _, e := range history {
		time.Sleep(time.Second)
		w.happens(e)
		w.check()
	}
	w.before = possible{
		read: w.read, asked: w.asked, old: w.toOld, arrived: w.last != nil, connected: w.connected,
		inFlight: len(w.inFlight), commits: len(w.now.history), wentBack: w.wentBack,
	}
	return w
}

func (w *world) happens(e event) {
	switch e {
	case commits:
		if c := w.commit(&w.now); w.connected && !w.toOld {
			w.inFlight = append(w.inFlight, c)
		}
	case unnumbered:
		w.now.u++
	case goesBack:
		if w.connected && !w.toOld {
			w.old, w.toOld = server{append([]Commit(nil), w.now.history...), w.now.u}, true
		}
		last := len(w.now.history) - 1
		w.now.history = w.now.history[:last:last]
		w.wentBack++
	case oldCommits:
		w.inFlight = append(w.inFlight, w.commit(&w.old))
	case failsBack:
		w.now, w.toOld = w.old, false
	case arrives:
		w.last, w.inFlight = &w.inFlight[0], w.inFlight[1:]
		w.hear(*w.last)
	case isLost:
		w.inFlight = w.inFlight[1:]
	case arrivesAgain:
		w.hear(*w.last)
	case begins:
		w.base, w.asked = w.keeper.Begin(), true
	case isRead:
		w.answer, w.held, w.read = w.now.reading(w.base), ids(w.now), true
	case isAdopted, isCompared:
		w.asked, w.read = false, false
		w.answered(e == isAdopted)
	case reconnects:
		w.connect()
	}
}

// commit commits on a server.
func (w *world) commit(s *server) Commit {
	w.ids++
	c := Commit{Revision: s.revision() + 1, At: time.Now().Add(time.Duration(w.ids)), Changes: []Change{{"k", numbered("k", w.ids)}}}
	s.history = append(s.history, c)
	return c
}

// connect makes the listener's connection: LISTEN, then a reading on it.
func (w *world) connect() {
	w.connected, w.toOld, w.inFlight, w.last = true, false, nil, nil
	base := w.keeper.Begin()
	w.lineage = base.Lineage()
	if w.adopt(w.now.reading(base), ids(w.now)) == WentBack {
		w.lineage = w.keeper.Begin().Lineage()
	}
}

// hear hands a commit to the keeper, as the listener does.
func (w *world) hear(c Commit) {
	c.Lineage = w.lineage
	before := w.keeper.Current()
	verdict := w.keeper.Apply(&c)
	w.verdicts["commit: "+names[verdict]]++
	after := w.keeper.Current()
	switch verdict {
	case Applied:
		w.chain = append(w.chain[:len(w.chain):len(w.chain)], c.Changes[0].Setting.Value.Int())
		if after.Revision() != before.Revision()+1 || after.Lookup("k") != c.Changes[0].Setting {
			w.fail("applied, and not in force")
		}
		if c.Lineage != before.Lineage() {
			w.fail("a commit of another lineage was applied")
		}
	case Old, Gap:
		if after != before {
			w.fail("verdict %d, and another snapshot", verdict)
		}
		if verdict == Old && c.Revision > after.Revision() {
			w.fail("old, and not in force")
		}
	default:
		w.fail("verdict %d on a commit", verdict)
	}
}

// answered hands the reading that is under way to the keeper, as the poller does.
func (w *world) answered(whole bool) {
	if whole {
		w.adopt(w.answer, w.held) // after WentBack the listener is restarted, but that takes time
		return
	}
	before, confirmed := w.keeper.Current(), w.keeper.Confirmed()
	head := w.answer.Head
	head.Digest = digestOf(w.answer)
	verdict := w.keeper.Compare(head)
	w.verdicts["head: "+names[verdict]]++
	if w.keeper.Current() != before {
		w.fail("a comparison put something in force")
	}
	w.confirms(verdict, w.answer, w.held, confirmed)
	if verdict != Same && verdict != Late && verdict != AskAgain {
		w.fail("verdict %d on a head", verdict)
	}
}

// adopt hands over a reading. held are the commits that it contains.
func (w *world) adopt(r *Reading, held []int64) Verdict {
	before, confirmed := w.keeper.Current(), w.keeper.Confirmed()
	verdict := w.keeper.Adopt(r)
	w.verdicts["reading: "+names[verdict]]++
	after := w.keeper.Current()
	switch verdict {
	case Adopted, WentBack:
		if verdict == Adopted && !prefix(w.chain, held) {
			w.fail("commits that were in force are gone, and nobody was told")
		}
		w.chain, w.told = held, w.told || verdict == WentBack
		if after.Revision() != r.Revision || after.Digest() != digestOf(r) {
			w.fail("adopted, and not in force")
		}
		if (verdict == WentBack) != (after.Lineage() != before.Lineage()) {
			w.fail("lineage %d after %d", after.Lineage(), before.Lineage())
		}
	case Same, Late, AskAgain:
		if after != before {
			w.fail("verdict %d, and another snapshot", verdict)
		}
	default:
		w.fail("verdict %d on a reading", verdict)
	}
	w.confirms(verdict, r, held, confirmed)
	return verdict
}

// confirms checks that an answer confirms the snapshot as of when it was asked for. It
// may do so only if the database had everything that was in force then, and everything
// that it had is in force now.
func (w *world) confirms(verdict Verdict, r *Reading, held []int64, before time.Time) {
	now := w.keeper.Confirmed()
	if verdict == AskAgain {
		if now != before {
			w.fail("an answer that is not believed confirms the snapshot")
		}
		return
	}
	if want := r.Base.began; !now.Equal(want) && !(now.Equal(before) && before.After(want)) || now.Before(before) {
		w.fail("confirmed as of %v, asked at %v, and before as of %v", now, want, before)
	}
	if !prefix(held, w.chain) || r.Revision < r.Base.Revision() && verdict != WentBack {
		w.fail("confirmed by %v, of which not all is in force: %v", held, w.chain)
	}
	if verdict == Same && digestOf(r) != w.keeper.Current().Digest() {
		w.fail("the same, with other content")
	}
}

func prefix(short, long []int64) bool {
	return len(short) <= len(long) && slices.Equal(short, long[:len(short)])
}

var names = map[Verdict]string{
	Applied: "applied", Old: "old", Gap: "gap", Adopted: "adopted", Same: "same", Late: "late", AskAgain: "ask again", WentBack: "went back",
}

func digestOf(r *Reading) (d int64) {
	for _, s := range r.Settings {
		d ^= s.Digest
	}
	return d
}

// check holds what must be true after each event.
func (w *world) check() {
	s := w.keeper.Current()
	if int(s.Revision()) != len(w.chain) {
		w.fail("revision %d is in force, after %v", s.Revision(), w.chain)
	}
	if k := s.Lookup("k"); k != nil {
		last := w.chain[len(w.chain)-1]
		if w.served[last] = true; k.Value.Int() != last {
			w.fail("k = %d is in force, after %v", k.Value.Int(), w.chain)
		}
	}
}

// settle reads until the verdict is not AskAgain, as the source does. After that the
// truth must be in force, and lost commits must have been reported.
func (w *world) settle() {
	w.asked, w.read = false, false
	for range 3 {
		time.Sleep(time.Second)
		w.happens(begins)
		w.happens(isRead)
		w.happens(isAdopted)
		w.check()
	}
	s := w.keeper.Current()
	if s.Revision() != w.now.revision() || s.Digest() != digestOf(w.now.reading(w.base)) {
		w.fail("revision %d, digest %x is in force, the database has %d, %x", s.Revision(), s.Digest(), w.now.revision(), digestOf(w.now.reading(w.base)))
	}
	for id := range w.served {
		if !slices.Contains(ids(w.now), id) && !w.told {
			w.fail("commit %d was in force, is gone, and nobody was told", id)
		}
	}
	// From now on the listener hears the current database.
	w.connect()
	w.inFlight = append(w.inFlight, w.commit(&w.now))
	w.happens(arrives)
	if s := w.keeper.Current(); s.Revision() != w.now.revision() || s.Lookup("k").Value.Int() != w.ids {
		w.fail("the next commit is not applied")
	}
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	var events strings.Builder
	for _, e := range w.history {
		events.WriteByte(byte(e))
	}
	w.t.Errorf("after %q: %s", events.String(), fmt.Sprintf(format, args...))
}
