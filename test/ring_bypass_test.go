package test

import (
	"fmt"
	"testing"
	"time"

	"platform-settings/test/pgtest"
)

// Rows change while the triggers are off: no revision, no notification. The poll
// compares content, so a TTL later all pods have it in force, and say how it came.
func TestRowsChangedWithTheTriggersOffAreInForceWithinATTL(t *testing.T) {
	t.Parallel()
	const ttl = time.Second
	f := newFleet(t, 3, pgtest.Database(t), fmt.Sprint("SETTINGS_TTL=", ttl))
	conn := f.connect()
	pgtest.Exec(t, conn, `ALTER TABLE platform_settings DISABLE TRIGGER ALL`)
	pgtest.Exec(t, conn, `UPDATE platform_settings SET value_int = 7 WHERE key = 'left'`)
	changed := time.Now()
	pgtest.Exec(t, conn, `ALTER TABLE platform_settings ENABLE TRIGGER ALL`)
	f.exactly(changed, ttl+oneLook)
	for _, p := range f.pods {
		p.AwaitLog("rows changed without a commit being numbered")
		if n := metric(t, p, `settings_repairs_total{cause="unannounced"}`); n != 1 {
			t.Errorf(`settings_repairs_total{cause="unannounced"} %v, want 1`, n)
		}
		within(t, changed, 2*ttl+oneLook, "the pod says that replicas skip the triggers", func() bool { return readiness(t, p).says("triggers") })
	}
	pgtest.Exec(t, conn, `ALTER TABLE platform_settings ENABLE ALWAYS TRIGGER settings_stamp, ENABLE ALWAYS TRIGGER settings_row, ENABLE ALWAYS TRIGGER settings_truncate`)
	mended := time.Now()
	for _, p := range f.pods {
		within(t, mended, ttl+oneLook, "all is well", func() bool { return readiness(t, p).Status == "ok" })
		reportedOnce(t, p, "triggers", 2) // disabled, or seen only after that; skipped by replicas
	}
}

// oneLook is for a poll that has begun to end, and for a test to see what it
// did, where both wait for a processor.
const oneLook = 250 * time.Millisecond
