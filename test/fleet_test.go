package test

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"platform-settings/test/pgtest"
	"platform-settings/test/pod"
)

const maintenance = "/api/v1/admin/maintenance"

// psql runs a line as a DBA would: with psql where there is one, else over a
// plain connection.
func psql(t *testing.T, url, line string) {
	t.Helper()
	for _, name := range []string{"psql", filepath.Join(pgtest.Server(t).BinDir(), "psql")} {
		if path, err := exec.LookPath(name); err == nil {
			if out, err := exec.CommandContext(t.Context(), path, "-X", "-v", "ON_ERROR_STOP=1", "-c", line, url).CombinedOutput(); err != nil {
				t.Fatalf("psql: %v\n%s", err, out)
			}
			return
		}
	}
	pgtest.Exec(t, pgtest.Connect(t, url), line)
}

func revision(t *testing.T, conn *pgx.Conn) (r int) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), `SELECT revision FROM settings_head`).Scan(&r); err != nil {
		t.Fatal(err)
	}
	return r
}

// The job itself: thrown by HTTP on one pod or by a DBA's SQL, the switch is in
// force on every pod.
func TestTheSwitchThrownAnywhereHoldsOnEveryPod(t *testing.T) {
	url := pgtest.Database(t)
	pods := pod.Fleet(t, 3, url)
	throws := map[string]func(on bool){
		"SQL": func(on bool) {
			psql(t, url, fmt.Sprintf(`UPDATE platform_settings SET value_bool = %v WHERE key = 'maintenance_mode'`, on))
		},
		"the SQL functions": func(on bool) {
			psql(t, url, map[bool]string{true: `SELECT maintenance_on('from psql', reason => 'test')`, false: `SELECT maintenance_off()`}[on])
		},
	}
	for i, p := range pods {
		throws[fmt.Sprintf("HTTP on pod %d", i+1)] = func(on bool) {
			p.Must(200, "PUT", maintenance, pod.Operator, fmt.Sprintf(`{"enabled":%v}`, on))
			want := map[bool]int{true: 503, false: 200}[on]
			if got := p.Status("/"); got != want {
				t.Errorf("the pod that answered still serves %d, want %d", got, want)
			}
		}
	}
	for name, throw := range throws {
		for _, on := range []bool{true, false} {
			throw(on)
			for i, p := range pods {
				p.AwaitStatus("/", map[bool]int{true: 503, false: 200}[on])
				if t.Failed() {
					t.Fatalf("thrown by %s: pod %d", name, i+1)
				}
			}
		}
	}
}

// Guarantee 10, while requests run: not one that began after the answer is
// served by the old state on that pod.
func TestNoRequestAfterTheAnswerSeesTheOldState(t *testing.T) {
	pods := pod.Fleet(t, 3, pgtest.Database(t))
	// Each pod's state as acknowledged: the flip's number, even for off.
	acknowledged := make([]atomic.Int64, len(pods))
	stop := make(chan struct{})
	var requests atomic.Int64
	var wg sync.WaitGroup
	for i, p := range pods {
		for range 2 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					before := acknowledged[i].Load()
					a, err := p.Do("GET", "/", "", "")
					requests.Add(1)
					if err != nil {
						t.Error(err)
						return
					}
					// Nothing was in flight during the request: the answer is known.
					if before >= 0 && acknowledged[i].Load() == before {
						if want := map[bool]int{true: 503, false: 200}[before%2 == 1]; a.Status != want {
							t.Errorf("after flip %d was acknowledged, pod %d answered %d", before, i+1, a.Status)
							return
						}
					}
				}
			})
		}
	}
	flips := 100
	if testing.Short() {
		flips = 20
	}
	for n := range flips {
		by := n % len(pods)
		on := n%2 == 0
		for i := range pods {
			acknowledged[i].Store(-1)
		}
		pods[by].Must(200, "PUT", maintenance, pod.Operator, fmt.Sprintf(`{"enabled":%v}`, on))
		acknowledged[by].Store(int64(n + 1))
		for i, p := range pods { // the others have it when they say so
			p.AwaitRevision(n + 2)
			acknowledged[i].Store(int64(n + 1))
		}
	}
	close(stop)
	wg.Wait()
	if requests.Load() < int64(flips) {
		t.Errorf("%d requests ran during %d flips", requests.Load(), flips)
	}
}

func TestTwentyPodsStartAtOnceOnAnEmptyDatabase(t *testing.T) {
	url := pgtest.Empty(t)
	pods := pod.Fleet(t, 20, url)
	pods[0].Must(200, "PUT", maintenance, pod.Operator, `{"enabled":true}`)
	for _, p := range pods {
		p.AwaitStatus("/", 503)
	}
	if got := revision(t, pgtest.Connect(t, url)); got != 2 {
		t.Errorf("revision %d, want 2: one for the seed, one for the switch", got)
	}
}

func TestLargeCommitsAreOneRevisionOnEveryPod(t *testing.T) {
	url := pgtest.Database(t)
	pods := pod.Fleet(t, 3, url)
	text := strings.Repeat("\u0001", 64<<10) // each takes six bytes as JSON
	a := pods[0].Must(201, "PUT", "/api/v1/admin/settings/big", pod.Admin,
		fmt.Sprintf(`{"kind":"text","value":"%s","public":true}`, strings.Repeat(`\u0001`, 64<<10)))
	if got := a.JSON(t)["revision"]; got != 2.0 {
		t.Errorf("revision %v, want 2", got)
	}
	psql(t, url, `INSERT INTO platform_settings (key, value_int, public) SELECT 'k' || i, i, true FROM generate_series(1, 1000) i`)
	for i, p := range pods {
		p.AwaitRevision(3)
		if got := p.Must(200, "GET", "/api/v1/settings/big", "", "").JSON(t)["value"]; got != text {
			t.Errorf("pod %d serves another text", i+1)
		}
		list := p.Must(200, "GET", "/api/v1/settings", "", "").JSON(t)["settings"].([]any)
		if len(list) != 1001 {
			t.Errorf("pod %d serves %d settings", i+1, len(list))
		}
	}
}

// Guarantee 7: with LISTEN out of reach, the poll brings every change, and the
// pod says that it is degraded.
func TestWithoutAListenerThePollBringsChanges(t *testing.T) {
	url := pgtest.Database(t)
	p := pod.Start(t, url, "LISTEN_DATABASE_URL=postgres://127.0.0.1:1/none", "SETTINGS_TTL=200ms")
	p.AwaitReady("degraded")
	p.AwaitStatus("/", 200)
	ready := p.Must(200, "GET", "/readyz", "", "").JSON(t)
	if ready["listener"] != "polling" || len(ready["problems"].([]any)) == 0 {
		t.Errorf("%v", ready)
	}
	psql(t, url, `UPDATE platform_settings SET value_bool = true`)
	p.AwaitStatus("/", 503)
	p.Must(200, "PUT", maintenance, pod.Operator, `{"enabled":false}`)
	if got := p.Status("/"); got != 200 {
		t.Errorf("after the answer: %d", got)
	}
}

// A pod whose database is away serves what MAINTENANCE_MODE says, and takes the
// database's word without a restart.
func TestMaintenanceModeDecidesUntilTheDatabaseIsThere(t *testing.T) {
	server := pgtest.Dedicated(t, pgserverConfig)
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	p := pod.Start(t, server.URL("postgres"), "MAINTENANCE_MODE=true")
	p.AwaitStatus("/", 503)
	if ready := p.Must(503, "GET", "/readyz", "", "").JSON(t); ready["status"] != "unready" || ready["source"] != "environment" {
		t.Errorf("%v", ready)
	}
	p.Must(200, "GET", "/livez", "", "")
	if err := server.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.AwaitReady("ok")
	if got := p.Status("/"); got != 200 {
		t.Errorf("the database says off, the pod answers %d", got)
	}
	p.AwaitLog("MAINTENANCE_MODE differs")
}

// A clean stop: what is under way finishes, then the pod leaves with 0.
func TestAStoppingPodFinishesWhatIsUnderWay(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	upstream := serve(t, func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-release
		fmt.Fprint(w, "done")
	})
	p := pod.Fleet(t, 1, pgtest.Database(t), "UPSTREAM_URL="+upstream)[0]
	answer := make(chan string)
	go func() {
		a, err := p.Do("GET", "/slow", "", "")
		answer <- fmt.Sprintf("%d %s %v", a.Status, a.Body, err)
	}()
	<-arrived
	p.Signal(stopSignal)
	p.AwaitLog("draining")
	close(release)
	if got := <-answer; got != "200 done <nil>" {
		t.Errorf("the request under way got %q", got)
	}
	if code := p.Exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
