package settings

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"

	"platform-settings/test/pgtest"
)

// acknowledgements counts, from now on, the writes to the register.
func acknowledgements(t *testing.T, conn *pgx.Conn) func() int {
	t.Helper()
	pgtest.Exec(t, conn, `CREATE TABLE acknowledgements (at timestamptz DEFAULT clock_timestamp())`)
	pgtest.Exec(t, conn, `CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
		$$ BEGIN INSERT INTO public.acknowledgements DEFAULT VALUES; RETURN NULL; END $$`)
	pgtest.Exec(t, conn, `CREATE TRIGGER note AFTER INSERT OR UPDATE ON settings_pods FOR EACH ROW EXECUTE FUNCTION note()`)
	return func() (n int) {
		if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM acknowledgements`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
}

func TestABurstOfCommitsCostsFewAcknowledgements(t *testing.T) {
	url := pgtest.Database(t)
	engines := fleet(t, url, 3, nil)
	conn := pgtest.Connect(t, url)
	await(t, engines[0], 1, patience)
	count := acknowledgements(t, conn)
	began := time.Now()
	batch := &pgx.Batch{}
	for range 500 { // each in a transaction of its own
		batch.Queue(`BEGIN`)
		batch.Queue(flip)
		batch.Queue(`COMMIT`)
	}
	if err := conn.SendBatch(t.Context(), batch).Close(); err != nil {
		t.Fatal(err)
	}
	f := await(t, engines[0], 501, patience)
	if !f.Converged {
		t.Fatalf("%+v", f)
	}
	most := 3 * (2 + int(time.Since(began)/(10*time.Millisecond)))
	n := count()
	t.Logf("500 commits cost 3 pods %d acknowledgements in %v, of %d", n, time.Since(began), most)
	if n > most {
		t.Errorf("500 commits cost 3 pods %d acknowledgements in %v, want at most %d", n, time.Since(began), most)
	}
}

// In a large fleet, commit after commit must not cost each pod an acknowledgement
// of each: but for those that somebody waits for.
func TestAcknowledgementsRestUnlessSomebodyWaits(t *testing.T) {
	e, _ := newEngine(t, "postgres://127.0.0.1:1/none", func(c *Config) { c.Pod = "pod-1" })
	e.fleetSize.Store(&fleetSize{current: 1000})
	e.publish(newSnapshot(1, SourceDatabase, nil, nil))
	p := e.poller
	prompt := func() bool { return !p.dueAt.IsZero() && time.Until(p.dueAt) <= 2*mostModesty }

	if !prompt() {
		t.Error("the first one rests")
	}
	p.rest()
	e.apply(&commit{revision: 2, changes: []change{}})
	if prompt() || p.dueAt.Before(p.rested) || time.Until(p.rested) < mostRest/4 {
		t.Errorf("the second one is due at %v, with nobody waiting, and rested at %v", p.dueAt, p.rested)
	}
	e.apply(&commit{revision: 3, changes: []change{}, awaited: true})
	if !prompt() {
		t.Error("one that is waited for rests")
	}
	p.rest()
	e.apply(&commit{revision: 5, awaited: true}) // too large to carry
	if !p.dueAt.IsZero() {
		t.Error("what is not in force is to be acknowledged")
	}
	p.rest() // one that was due, and has not that revision
	e.adopt(&reading{revision: 5, base: e.Current()})
	if !prompt() {
		t.Error("one that is waited for, and had to be read, rests")
	}
	p.rest()
	e.apply(&commit{revision: 5, changes: []change{}, awaited: true}) // the poll was first
	if !prompt() {
		t.Error("one that is waited for, and was read before it was heard, rests")
	}
}

func TestAcknowledgementsOfAFloodRestTwiceAsLongEachTime(t *testing.T) {
	e, _ := newEngine(t, "postgres://127.0.0.1:1/none", func(c *Config) { c.Pod = "pod-1" })
	e.fleetSize.Store(&fleetSize{current: 250})
	p, least := e.poller, 250*acknowledgeRest
	synctest.Test(t, func(t *testing.T) { // in which time stands still
		comes := func(awaited bool) {
			e.apply(&commit{revision: e.Current().revision + 1, changes: []change{}, awaited: awaited})
		}
		rests := func(when string, want time.Duration) {
			t.Helper()
			p.rest()
			if rest := time.Until(p.rested); rest < want/2 || rest > 3*want/2 || p.resting != want {
				t.Errorf("%s it rests for %v, about %v; want about %v", when, rest, p.resting, want)
			}
		}

		e.publish(newSnapshot(1, SourceDatabase, nil, nil))
		for _, want := range []time.Duration{least, 2 * least, 4 * least, mostRest} {
			rests("in a flood", want)
			comes(false)
		}
		comes(true)
		rests("when somebody waited", least)
		comes(false)
		rests("in a flood", 2*least)
		time.Sleep(time.Until(p.rested))
		comes(false)
		rests("after a flood", least)
	})
}

// Guarantee 10: a commit counts when requests read it, not when it was heard.
func TestAPodAcknowledgesWhatRequestsRead(t *testing.T) {
	url := pgtest.Database(t)
	e := fleet(t, url, 1, nil)[0]
	conn := pgtest.Connect(t, url)
	pgtest.Exec(t, conn, `UPDATE settings_head SET revision = 9`) // as if the commits to there were on their way
	e.listener.heard.Store(9)
	var now time.Time
	if err := conn.QueryRow(t.Context(), `SELECT clock_timestamp()`).Scan(&now); err != nil {
		t.Fatal(err)
	}
	e.poller.owe()
	var acknowledged Revision
	until(t, "it has acknowledged", func() bool {
		return conn.QueryRow(t.Context(), `SELECT revision FROM settings_pods WHERE last_seen > $1`, now).Scan(&acknowledged) == nil
	})
	if acknowledged != 1 {
		t.Errorf("it acknowledged revision %d and serves 1", acknowledged)
	}
}
