package test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"platform-settings/test/pgtest"
)

// Connections that are reset are made anew at once, and nothing is missed.
func TestALinkThatIsCutIsMadeAnewAtOnce(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3, pgtest.Database(t), hourly)
	l := f.load(true)
	const cuts = 6
	for range cuts {
		time.Sleep(rand.N(50 * time.Millisecond)) // commits go on
		f.proxy.Cut()
		f.inForce(time.Now(), time.Second)
		for _, p := range f.pods {
			p.AwaitReady("ok")
		}
	}
	l.end()
	for _, p := range f.pods {
		reportedOnce(t, p, "listener", cuts)
		if n := metric(t, p, "settings_listener_ended_total"); n < 1 {
			t.Errorf("settings_listener_ended_total %v", n)
		}
	}
}

// A link that refuses connections for a while: what it was is said once, and it
// is made anew within the longest backoff.
func TestALinkThatWasDownIsReportedOnceAndMadeAnew(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3, pgtest.Database(t), hourly)
	l := f.load(false)
	f.proxy.Refuse()
	f.proxy.Cut()
	for _, p := range f.pods {
		p.AwaitReady("degraded")
		if r := readiness(t, p); !r.says("listener") || r.Listener == "live" {
			t.Errorf("%+v", r)
		}
	}
	time.Sleep(1500 * time.Millisecond) // the backoff grows to a second
	f.heal()
	f.inForce(time.Now(), 2*time.Second)
	l.end()
	for _, p := range f.pods {
		p.AwaitReady("ok")
		reportedOnce(t, p, "listener", 1)
	}
}

// The standing connections go dark, without a reset, and new ones work: a
// firewall that forgot them. The poll finds out, and the listener is replaced.
func TestConnectionsThatGoDarkAreReplacedWithinATTL(t *testing.T) {
	t.Parallel()
	const ttl = time.Second
	f := newFleet(t, 3, pgtest.Database(t), fmt.Sprint("SETTINGS_TTL=", ttl))
	l := f.load(false)
	dark := time.Now()
	f.proxy.Stall(f.proxy.Standing()...)
	f.inForce(dark, ttl+2*time.Second)
	for _, p := range f.pods {
		within(t, dark, 2*ttl+3*time.Second, "the deaf listener is replaced", func() bool {
			return metric(t, p, `settings_listener_restarts_total{cause="deaf"}`) >= 1 && readiness(t, p).Listener == "live"
		})
	}
	l.end()
	f.hears(time.Now(), time.Second)
	for _, p := range f.pods {
		p.AwaitReady("ok")
		p.AwaitLog("restarting the listener")
	}
}

// The whole link is dark for several TTLs, and nothing says so.
func TestALinkThatWasDarkIsCaughtUpWhenItHeals(t *testing.T) {
	t.Parallel()
	const ttl = 400 * time.Millisecond
	f := newFleet(t, 3, pgtest.Database(t), fmt.Sprint("SETTINGS_TTL=", ttl))
	l := f.load(false)
	f.proxy.Stall()
	time.Sleep(5 * ttl)
	f.heal()
	f.inForce(time.Now(), ttl+2*time.Second)
	l.end()
	for _, p := range f.pods {
		p.AwaitReady("ok")
	}
}

// A slow link is no broken one: changes arrive, in order, and the listener is
// not taken for deaf.
func TestASlowLinkKeepsItsListener(t *testing.T) {
	t.Parallel()
	const delay = 200 * time.Millisecond
	for name, alone := range map[string]bool{"all of it": false, "the listener's alone": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.Database(t)
			variables := []string{"SETTINGS_TTL=500ms"}
			if alone { // the poll goes past the proxy, and finds commits first
				variables = append(variables, "DATABASE_URL="+url)
			}
			f := newFleet(t, 1, url, variables...)
			p := f.pods[0]
			l := f.load(false)
			f.proxy.Delay(delay)
			time.Sleep(2 * time.Second) // several polls, and longer than it takes to suspect a listener
			f.inForce(time.Now(), delay+time.Second)
			l.endWithin(delay + time.Second)
			for _, never := range []string{`settings_listener_restarts_total{cause="deaf"}`, "settings_listener_ended_total", `settings_polls_total{result="failed"}`} {
				if n := metric(t, p, never); n != 0 {
					t.Errorf("%s %v, want 0", never, n)
				}
			}
			if r := readiness(t, p); r.Status != "ok" {
				t.Errorf("%+v", r)
			}
			// It can be made anew over a slow link, too: some round trips.
			terminate(t, f.connect(), listening)
			p.AwaitReady("degraded")
			within(t, time.Now(), 20*delay+time.Second, "the listener is live", func() bool { return readiness(t, p).Listener == "live" })
			f.hears(time.Now(), delay+time.Second)
		})
	}
}
