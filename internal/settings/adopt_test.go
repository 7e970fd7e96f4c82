package settings

import "testing"

// Guarantee 3, step by step: which reads are adopted while commits are applied.
func TestAReadIsAdoptedOnlyIfItIsNews(t *testing.T) {
	at := func(r Revision, digest int64, lineage int) *Snapshot {
		return &Snapshot{revision: r, source: SourceDatabase, digest: digest, lineage: lineage}
	}
	began := at(5, 50, 0) // current when the read began
	for name, test := range map[string]struct {
		current  *Snapshot // when it ended
		revision Revision  // what was read
		digest   int64
		want     Revision
		again    bool // the poller is asked to look again
		lineage  int
	}{
		"nothing new":                         {began, 5, 50, 5, false, 0},
		"newer":                               {began, 7, 70, 7, false, 0},
		"newer, though commits were applied":  {at(6, 60, 0), 7, 70, 7, false, 0},
		"late":                                {at(7, 70, 0), 6, 60, 7, false, 0},
		"late, as of the beginning":           {at(7, 70, 0), 5, 50, 7, false, 0},
		"changed without a revision":          {began, 5, 51, 5, false, 0},
		"the database went back":              {began, 4, 40, 4, false, 1},
		"went back, but commits were applied": {at(6, 60, 0), 4, 40, 6, true, 0},
		"begun before the database went back": {at(3, 30, 1), 5, 50, 3, true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			e, _ := newEngine(t, "postgres://127.0.0.1:1/none", nil)
			e.publish(test.current)
			e.adopt(&reading{
				revision: test.revision, base: began,
				settings: map[string]*Setting{"k": {Key: "k", digest: test.digest}},
			})
			now := e.Current()
			if now.revision != test.want || now.lineage != test.lineage {
				t.Errorf("revision %d in lineage %d, want %d in %d", now.revision, now.lineage, test.want, test.lineage)
			}
			if now.revision == test.revision && now.digest != test.digest {
				t.Errorf("digest %d, want %d", now.digest, test.digest)
			}
			// Else a pod that commits keep busy would take itself for stale.
			if confirmed := e.confirmed.Load() != nil; confirmed == test.again {
				t.Errorf("confirmed: %v", confirmed)
			}
			if again := len(e.poller.asked) == 1; again != test.again {
				t.Errorf("asked to look again: %v, want %v", again, test.again)
			}
		})
	}
}
