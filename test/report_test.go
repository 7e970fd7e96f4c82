package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"platform-settings/test/pgtest"
	"platform-settings/test/pod"
)

// command runs one of the binary's commands against a pod.
func command(t *testing.T, p *pod.Pod, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return run(t, as(pod.Operator, p.URL("")), args...)
}

// report is the fleet part of an answer.
type report struct {
	Revision  int
	Converged bool
	Unknown   string
	Behind    []string
	Lost      []string
}

// missing is the pods that do not have the revision.
func (r report) missing() []string {
	return slices.Sorted(slices.Values(append(slices.Clone(r.Behind), r.Lost...)))
}

// flip throws the switch through a pod and waits for the fleet.
func flip(t *testing.T, p *pod.Pod, on bool, wait int) (status int, r report) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), "PUT", p.URL(maintenance), strings.NewReader(fmt.Sprintf(`{"enabled":%v}`, on)))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+pod.Operator)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Prefer", fmt.Sprintf("wait=%d", wait))
	response, err := p.Client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var body struct{ Fleet report }
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, body.Fleet
}

// The incident that this project began with, and similar ones: one pod is frozen, one
// killed, one cut off. However the switch is thrown, the answer names these pods.
func TestAFrozenAKilledAndACutOffPodAreNamed(t *testing.T) {
	database := pgtest.Database(t)
	proxy, cutURL := link(t, database)
	const ttl = 500 * time.Millisecond
	pods := pod.Fleet(t, 2, database, "SETTINGS_TTL="+ttl.String())
	frozen := pod.Start(t, database, "POD_NAME=frozen", "SETTINGS_TTL="+ttl.String())
	killed := pod.Start(t, database, "POD_NAME=killed", "SETTINGS_TTL="+ttl.String())
	cut := pod.Start(t, cutURL, "POD_NAME=cut-off", "SETTINGS_TTL="+ttl.String())
	for _, p := range []*pod.Pod{frozen, killed, cut} {
		p.AwaitReady("ok")
	}
	if status, r := flip(t, pods[0], true, 20); status != 200 || !r.Converged {
		t.Fatalf("all is well: %d %+v", status, r)
	}

	frozen.Pause()
	killed.Kill()
	proxy.Refuse()
	proxy.Cut()
	want := []string{"cut-off", "frozen", "killed"}
	conn := pgtest.Connect(t, database)
	for i := range 3 { // behind at first, and then lost
		began := time.Now()
		status, r := flip(t, pods[i%2], i%2 == 1, 1)
		if diff := cmp.Diff(want, r.missing()); status != 202 || r.Converged || diff != "" {
			t.Errorf("HTTP: %d %+v %s", status, r, diff)
		}
		if i == 0 && time.Since(began) < time.Second {
			t.Errorf("they held the answer up for %v only", time.Since(began))
		}
		for _, p := range pods {
			if got, want := p.Status("/"), map[bool]int{true: 503, false: 200}[i%2 == 1]; got != want {
				t.Errorf("a pod that was not named answers %d, want %d", got, want)
			}
		}
		if got := cut.Status("/"); got != 503 {
			t.Errorf("the pod that was cut off answers %d: it is none", got)
		}

		psql(t, database, `UPDATE platform_settings SET value_bool = NOT value_bool WHERE key = 'maintenance_mode'`)
		if got := scalar[string](t, conn, `SELECT string_agg(pod, ',' ORDER BY pod) FROM settings_await(timeout => '1 second') WHERE NOT has`); got != strings.Join(want, ",") {
			t.Errorf("SQL: %s", got)
		}
		code, out, errors := command(t, pods[1], "maintenance", "on", "--wait", "1s")
		if code != 3 || !strings.Contains(out, "2 of 5 pods") {
			t.Errorf("command line: exit code %d\n%s%s", code, out, errors)
		}
		for _, name := range want {
			if !strings.Contains(errors, name) {
				t.Errorf("command line: %s is not named: %s", name, errors)
			}
		}
	}
	eventually(t, conn, `SELECT count(*) = 3 FROM settings_fleet WHERE state = 'lost'`)
	if status, r := flip(t, pods[0], true, 20); status != 202 || len(r.Behind) != 0 || cmp.Diff(want, r.Lost) != "" {
		t.Errorf("silent for three TTLs: %d %+v", status, r)
	}

	frozen.Resume()
	if err := proxy.Heal(); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*pod.Pod{frozen, cut} {
		p.AwaitStatus("/", 503)
	}
	eventually(t, conn, `SELECT count(*) = 1 FROM settings_fleet WHERE state <> 'current'`)
	if status, r := flip(t, pods[0], false, 20); status != 202 || cmp.Diff([]string{"killed"}, r.missing()) != "" {
		t.Errorf("two came back: %d %+v", status, r)
	}
}

// With MAX_STALENESS it is known when a lost pod has stopped serving the old state.
func TestALostPodThatHasClosedItsGateNoLongerKeepsTheFleetFromConverging(t *testing.T) {
	database := pgtest.Database(t)
	proxy, cutURL := link(t, database)
	p := pod.Fleet(t, 1, database, "SETTINGS_TTL=200ms", "MAX_STALENESS=1s")[0]
	cut := pod.Start(t, cutURL, "POD_NAME=cut-off", "SETTINGS_TTL=200ms", "MAX_STALENESS=1s")
	cut.AwaitReady("ok")
	proxy.Refuse()
	proxy.Cut()
	if status, r := flip(t, p, true, 1); status != 202 || cmp.Diff([]string{"cut-off"}, r.missing()) != "" {
		t.Errorf("%d %+v", status, r)
	}
	flip(t, p, false, 0)
	conn := pgtest.Connect(t, database)
	eventually(t, conn, `SELECT closed_at IS NOT NULL FROM settings_fleet WHERE pod = 'cut-off'`)
	if got := cut.Status("/"); got != 503 {
		t.Errorf("it is said to have closed its gate, and answers %d", got)
	}
	if status, r := flip(t, p, true, 20); status != 200 || !r.Converged || cmp.Diff([]string{"cut-off"}, r.Lost) != "" {
		t.Errorf("%d %+v", status, r)
	}
}

func TestTheSwitchIsThrownFromAScript(t *testing.T) {
	p := pod.Fleet(t, 2, pgtest.Database(t))[0]
	code, out, errors := command(t, p, "maintenance", "on", "--message", "deploy 42", "--reason", "test")
	if code != 0 || !strings.Contains(out, "maintenance is on as of revision 2: 2 of 2 pods have it") || errors != "" {
		t.Errorf("on: %d\n%s%s", code, out, errors)
	}
	if code, out, _ := command(t, p, "maintenance", "status"); code != 0 || !strings.Contains(out, `maintenance is on`) || !strings.Contains(out, `"deploy 42"`) {
		t.Errorf("status: %d\n%s", code, out)
	}
	if code, out, _ := command(t, p, "fleet"); code != 0 || strings.Count(out, "current") != 2 {
		t.Errorf("fleet: %d\n%s", code, out)
	}
	code, out, _ = command(t, p, "maintenance", "off", "--json")
	var answer struct {
		Revision int
		Fleet    report
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil || code != 0 || answer.Revision != 3 || !answer.Fleet.Converged {
		t.Errorf("off: %d %v\n%s", code, err, out)
	}
	for _, args := range [][]string{{"maintenance"}, {"maintenance", "maybe"}, {"maintenance", "on", "now"}, {"fleet", "--wait", "-1s"}, {"fleet", "--what"}} {
		if code, _, errors := command(t, p, args...); code != 2 || errors == "" {
			t.Errorf("%v: %d %q", args, code, errors)
		}
	}
	dead := pod.Start(t, "postgres://127.0.0.1:1/none")
	dead.Kill()
	if code, _, errors := command(t, dead, "maintenance", "on", "--wait", "1s"); code != 1 || !strings.Contains(errors, "safe to repeat") {
		t.Errorf("no pod: %d %s", code, errors)
	}
	cmd := exec.CommandContext(t.Context(), pod.Binary(t), "maintenance", "on")
	cmd.Env = []string{"API_URL=" + p.URL(""), "API_TOKEN=" + pod.Viewer}
	if out, err := cmd.CombinedOutput(); err == nil || cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "403") || strings.Contains(string(out), pod.Viewer) {
		t.Errorf("beyond the token's role: %v %s", err, out)
	}
}

// The command does not believe an answer that is not a pod's.
func TestAServerThatIsNoPodIsNotBelieved(t *testing.T) {
	for _, body := range []string{`{"status":"ok"}`, `{}`, `null`, `[]`, `up`, ``} {
		address := serve(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, body) })
		for _, args := range [][]string{{"maintenance", "on", "--wait", "0"}, {"maintenance", "status"}, {"fleet", "--wait", "0"}} {
			cmd := exec.CommandContext(t.Context(), pod.Binary(t), args...)
			cmd.Env = []string{"API_URL=" + address}
			out, err := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "does not look like a pod") {
				t.Errorf("%v on %q: %v %s", args, body, err, out)
			}
		}
	}
}

// A starting pod does not delay those who wait for the fleet.
func TestPodsThatStartDuringTheWaitDoNotHoldItUp(t *testing.T) {
	database := pgtest.Database(t)
	p := pod.Fleet(t, 1, database)[0]
	var late []*pod.Pod
	for i := range 8 {
		late = append(late, pod.Start(t, database, fmt.Sprint("POD_NAME=late-", i)))
	}
	ready := func() bool {
		return !slices.ContainsFunc(late, func(p *pod.Pod) bool {
			a, err := p.Do("GET", "/readyz", "", "")
			return err != nil || a.Status != 200
		})
	}
	for i, all := 0, false; !all; i++ {
		all = ready() // and one flip more
		if status, r := flip(t, p, i%2 == 0, 20); status != 200 || !r.Converged {
			t.Errorf("%d %+v", status, r)
		}
		for _, l := range late {
			if a, err := l.Do("GET", "/", "", ""); all && (err != nil || a.Status != map[bool]int{true: 503, false: 200}[i%2 == 0]) {
				t.Errorf("a late pod answers %d, %v", a.Status, err)
			}
		}
	}
}
