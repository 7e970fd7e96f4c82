package test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"platform-settings/test/pgtest"
	"platform-settings/test/pod"
)

// Guarantee 9: a pod that starts without its database serves what the fleet had
// last, says so, and takes the database's word without a restart.
func TestAPodThatStartsWithoutItsDatabaseServesTheLastGoodSettings(t *testing.T) {
	server := pgtest.Dedicated(t, pgserverConfig)
	file := filepath.Join(t.TempDir(), "last-good")
	url := server.URL("postgres")
	first := pod.Fleet(t, 1, url, "LAST_GOOD_FILE="+file)[0]
	first.Must(200, "PUT", maintenance, pod.Operator, `{"enabled":true,"message":"from the file"}`)
	first.Signal(stopSignal)
	if code := first.Exit(); code != 0 {
		t.Fatalf("exit code %d\n%s", code, first.Log())
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}

	second := pod.Start(t, url, "LAST_GOOD_FILE="+file, "MAINTENANCE_MODE=false")
	second.AwaitStatus("/", 503)
	a := second.Must(503, "GET", "/", "", "")
	if !strings.Contains(string(a.Body), "from the file") {
		t.Errorf("%s", a.Body)
	}
	ready := second.Must(200, "GET", "/readyz", "", "").JSON(t)
	if ready["status"] != "degraded" || ready["source"] != "file" || ready["revision"] != 2.0 {
		t.Errorf("%v", ready)
	}
	second.Must(503, "PUT", maintenance, pod.Operator, `{"enabled":false}`)

	if err := server.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	second.AwaitReady("ok")
	second.Must(200, "PUT", maintenance, pod.Operator, `{"enabled":false}`)
	second.Must(200, "GET", "/", "", "")
}

// A pod that cannot reach its database when it starts says why, in /readyz and in
// the log, and each new reason anew.
func TestAPodThatCannotStartWellSaysWhy(t *testing.T) {
	server := pgtest.Dedicated(t, pgserverConfig)
	url := server.URL("later")
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	p := pod.Start(t, url)
	says := func(why string) {
		t.Helper()
		words := "cannot be checked yet, trying again: " + why
		awaited(t, time.Now(), 20*time.Second, words, func() bool {
			a, err := p.Do("GET", "/readyz", "", "")
			return err == nil && strings.Contains(string(a.Body), words)
		})
		p.AwaitLog(words)
	}
	says("the server cannot be reached")
	if err := server.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	says("the database does not exist")
	pgtest.Exec(t, pgtest.Connect(t, server.URL("postgres")), `CREATE DATABASE later`)
	p.AwaitReady("ok")
	if n := logged(p, "degraded", "schema"); n < 2 || n > 4 {
		t.Errorf("%d lines", n)
	}
}

// With MAX_STALENESS a pod that lost its database closes its own gate, says why,
// and opens it again by itself.
func TestAPodThatLostItsDatabaseClosesItsGateAndOpensIt(t *testing.T) {
	server := pgtest.Dedicated(t, pgserverConfig)
	pods := pod.Fleet(t, 2, server.URL("postgres"), "SETTINGS_TTL=200ms", "MAX_STALENESS=1s")
	without := pod.Fleet(t, 1, server.URL("postgres"), "SETTINGS_TTL=200ms")[0]
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, p := range pods {
		p.AwaitStatus("/", 503)
		problem := p.Must(503, "GET", "/", "", "").JSON(t)
		if problem["type"] != "urn:platform-settings:problem:stale" {
			t.Errorf("%v", problem)
		}
		p.Must(503, "GET", "/gate", "", "")
		p.Must(200, "GET", "/api/v1/maintenance", "", "")
		ready := fmt.Sprint(p.Must(200, "GET", "/readyz", "", "").JSON(t))
		if !strings.Contains(ready, "MAX_STALENESS") {
			t.Error(ready)
		}
		if metrics := string(p.Must(200, "GET", "/metrics", "", "").Body); !strings.Contains(metrics, "\nsettings_stale 1") {
			t.Error("the metric does not tell")
		}
		p.AwaitLog("MAX_STALENESS")
	}
	without.Must(200, "GET", "/", "", "")
	if err := server.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, p := range pods {
		p.AwaitStatus("/", 200)
		p.AwaitReady("ok")
	}
}
