package settings

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"

	"platform-settings/test/pgtest"

	"platform-settings/settings"
)

// acknowledgements counts the writes to the register from now on.
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

// In a flood of commits, a pod of a large fleet must not acknowledge each one, except
// those that somebody waits for.
func TestAcknowledgementsPauseUnlessSomebodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAcknowledger(func() int64 { return 1000 })
		prompt := func() bool { return !a.dueAt.IsZero() && time.Until(a.dueAt) <= 2*mostSpread }
		a.owe()
		if !prompt() {
			t.Error("the first one waits for a pause")
		}
		a.begin(1)
		a.owe()
		if prompt() || a.dueAt.Before(a.paused) || time.Until(a.paused) < mostPause/4 {
			t.Errorf("the second one is due at %v, with nobody waiting, and the pause ends at %v", a.dueAt, a.paused)
		}
		a.owe()
		a.await(3, 3)
		if !prompt() {
			t.Error("one that somebody waits for comes after a pause")
		}
		a.begin(3)
		a.await(5, 3) // as if commit 5 were too large for its notification
		if !a.dueAt.IsZero() {
			t.Error("it acknowledges a revision that is not in force")
		}
		a.begin(4) // for an earlier revision
		a.owe()    // the table was read, with revision 5
		if !prompt() {
			t.Error("one that somebody waits for, and that had to be read, comes after a pause")
		}
		a.begin(5)
		a.await(5, 5) // as if the poll had found it before its notification came
		if !prompt() {
			t.Error("one that somebody waits for, and that was read before it was heard, comes after a pause")
		}
		a.begin(5)
		a.owe()
		if prompt() {
			t.Error("it is still waited for once it was acknowledged")
		}
	})
}

func TestPausesBetweenAcknowledgementsDoubleInAFlood(t *testing.T) {
	const least = 250 * acknowledgePause
	synctest.Test(t, func(t *testing.T) {
		a := newAcknowledger(func() int64 { return 250 })
		pauses := func(when string, want time.Duration) {
			t.Helper()
			a.begin(1)
			if pause := time.Until(a.paused); pause < want/2 || pause > 3*want/2 || a.pause != want {
				t.Errorf("%s it pauses for %v, about %v; want about %v", when, pause, a.pause, want)
			}
		}
		a.owe()
		for _, want := range []time.Duration{least, 2 * least, 4 * least, mostPause} {
			pauses("in a flood", want)
			a.owe()
		}
		a.await(1, 1)
		pauses("when somebody waited", least)
		a.owe()
		pauses("in a flood", 2*least)
		time.Sleep(time.Until(a.paused))
		a.owe()
		pauses("after a flood", least)
	})
}

func TestAcknowledgementsAreSpreadByTheSizeOfTheFleet(t *testing.T) {
	for pods, want := range map[int64]time.Duration{1: leastSpread, 100: leastSpread, 500: 50 * time.Millisecond, 1_000_000: mostSpread} {
		a := newAcknowledger(func() int64 { return pods })
		for range 100 {
			if got := a.spread(); got < want || got >= 2*want {
				t.Fatalf("%d pods: %v, want %v to twice that", pods, got, want)
			}
		}
	}
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
	e.poller.acks.owe()
	var acknowledged settings.Revision
	until(t, "it has acknowledged", func() bool {
		return conn.QueryRow(t.Context(), `SELECT revision FROM settings_pods WHERE last_seen > $1`, now).Scan(&acknowledged) == nil
	})
	if acknowledged != 1 {
		t.Errorf("it acknowledged revision %d and serves 1", acknowledged)
	}
}
