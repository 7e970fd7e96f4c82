package test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"platform-settings/test/faultproxy"
	"platform-settings/test/pgtest"
	"platform-settings/test/pod"
)

// The fault ring: the tests in the files ring_… cause a failure of the link, of
// the server or of a pod, for real and while commits go on. Afterwards every pod
// serves exactly what the table holds, within the time that is promised.

// hourly is a TTL that no test outlives: what is repaired, the listener repairs.
const hourly = "SETTINGS_TTL=1h"

// listening is the application name of the pods' listeners: a server cannot tell
// otherwise which of its backends listen.
const listening = "listening"

// fleet is some pods, and their database behind a proxy with faults.
type fleet struct {
	t      *testing.T
	proxy  *faultproxy.Proxy
	direct string // the database's URL past the proxy
	linked string // and through it
	pods   []*pod.Pod
}

// newFleet starts pods on a database that has the schema or gets it from them.
func newFleet(t *testing.T, n int, url string, variables ...string) *fleet {
	t.Helper()
	f := &fleet{t: t, direct: url}
	f.proxy, f.linked = link(t, url)
	f.pods = pod.Fleet(t, n, f.linked, append([]string{"LISTEN_DATABASE_URL=" + f.linked + "&application_name=" + listening}, variables...)...)
	pgtest.Exec(t, f.connect(), `INSERT INTO platform_settings (key, value_int) VALUES ('left', 0), ('right', 0), ('marker', 0)`)
	f.exactly(time.Now(), time.Second)
	for _, p := range f.pods { // its poller is connected
		awaited(t, time.Now(), 5*time.Second, "a pod has polled", func() bool { return metric(t, p, `settings_polls_total{result="ok"}`) > 0 })
	}
	return f
}

// link puts a proxy before a database, and returns the URL through it.
func link(t *testing.T, databaseURL string) (*faultproxy.Proxy, string) {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := faultproxy.Start(u.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	u.Host = proxy.Addr()
	return proxy, u.String()
}

// connect is a new connection past the proxy.
func (f *fleet) connect() *pgx.Conn { f.t.Helper(); return pgtest.Connect(f.t, f.direct) }

func (f *fleet) heal() {
	f.t.Helper()
	if err := f.proxy.Heal(); err != nil {
		f.t.Fatal(err)
	}
}

// inForce makes a commit and waits until every pod has it in force. It asserts
// that no more than the promised time has passed since the fault was over.
func (f *fleet) inForce(since time.Time, promise time.Duration) {
	f.t.Helper()
	within(f.t, since, promise, "every pod has what is committed in force", f.commit())
}

// commit makes one, and returns whether every pod has it in force.
func (f *fleet) commit() (inForce func() bool) {
	f.t.Helper()
	conn := f.connect()
	defer conn.Close(f.t.Context())
	pgtest.Exec(f.t, conn, `UPDATE platform_settings SET value_int = value_int + 1 WHERE key = 'marker'`)
	want := revision(f.t, conn)
	return func() bool {
		f.t.Helper()
		for _, p := range f.pods {
			if readiness(f.t, p).Revision < want {
				return false
			}
		}
		return true
	}
}

// hears makes a commit and waits until every pod has been told of it, as it would
// not be by the poll.
func (f *fleet) hears(since time.Time, promise time.Duration) {
	f.t.Helper()
	before := make([]float64, len(f.pods))
	for i, p := range f.pods {
		before[i] = notifications(f.t, p)
	}
	f.commit()
	within(f.t, since, promise, "every pod is told of a commit", func() bool {
		for i, p := range f.pods {
			if notifications(f.t, p) <= before[i] {
				return false
			}
		}
		return true
	})
}

// exactly is inForce once nobody writes any more: the pods serve the table and
// nothing else.
func (f *fleet) exactly(since time.Time, promise time.Duration) {
	f.t.Helper()
	conn := f.connect()
	want := fmt.Sprint(revision(f.t, conn), " ", table(f.t, conn))
	have := make([]string, len(f.pods))
	defer func() {
		for i := range have {
			if have[i] != want {
				f.t.Errorf("pod %d serves %q, the table holds %q", i+1, have[i], want)
			}
		}
	}()
	within(f.t, since, promise, "every pod serves exactly the table", func() bool {
		for i, p := range f.pods {
			have[i] = fmt.Sprint(readiness(f.t, p).Revision, " ", served(f.t, p))
			if have[i] != want {
				return false
			}
		}
		return true
	})
}

// within waits for a condition, logs how long it took, and fails if that is more
// than what is promised.
func within(t *testing.T, since time.Time, promise time.Duration, what string, ok func() bool) {
	t.Helper()
	took := awaited(t, since, promise, what, ok)
	t.Logf("%v of %v: %s", took.Round(time.Millisecond), promise, what)
}

// awaited is within for what happens too often to be logged.
func awaited(t *testing.T, since time.Time, promise time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	for !ok() {
		if time.Since(since) > 10*promise+30*time.Second {
			t.Fatalf("never came true, promised within %v: %s", promise, what)
		}
		time.Sleep(2 * time.Millisecond)
	}
	took := time.Since(since)
	if took > promise {
		if slow := slowdown(); took > time.Duration(float64(promise)*slow) {
			t.Errorf("took %v, promised within %v, on a machine that is %.1f times as slow as an idle one: %s", took, promise, slow, what)
		}
	}
	return took
}

// slowdown is how many times as long something may take as on a machine that has a
// processor to spare, which is what promises are for. In the share of the last ten
// seconds in which something waited for a processor, each of those that ran had its
// part of them: a ninth of one if 18 share two. It is 1 if the kernel does not say
// (Linux, accounting/psi and filesystems/proc).
func slowdown() float64 {
	var percent, load float64
	pressure, _ := os.ReadFile("/proc/pressure/cpu")
	_, _ = fmt.Sscanf(string(pressure), "some avg10=%f", &percent)
	average, _ := os.ReadFile("/proc/loadavg")
	_, _ = fmt.Sscanf(string(average), "%f", &load)
	return 1 + percent/100*max(2, load/float64(runtime.NumCPU()))
}

// ready is what a pod says about itself.
type ready struct {
	Status, Source, Listener string
	Revision                 int
	Problems                 []string
}

func readiness(t *testing.T, p *pod.Pod) (r ready) {
	t.Helper()
	a, err := p.Do("GET", "/readyz", "", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(a.Body, &r); err != nil {
		t.Fatalf("%v: %s", err, a.Body)
	}
	return r
}

// says whether one of the pod's problems begins with the topic.
func (r ready) says(topic string) bool {
	return strings.Contains("\n"+strings.Join(r.Problems, "\n"), "\n"+topic+": ")
}

// metric is a pod's, by name and labels; 0 if it has none.
func metric(t *testing.T, p *pod.Pod, name string) float64 {
	t.Helper()
	_, rest, found := strings.Cut("\n"+string(p.Must(200, "GET", "/metrics", "", "").Body), "\n"+name+" ")
	if !found {
		return 0
	}
	value, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseFloat(value, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// notifications is how many a pod has heard, readable or not.
func notifications(t *testing.T, p *pod.Pod) float64 {
	t.Helper()
	return metric(t, p, `settings_notifications_total{result="commit"}`) + metric(t, p, `settings_notifications_total{result="unreadable"}`)
}

// logged counts the lines of a pod's log with all of the words.
func logged(p *pod.Pod, words ...string) (n int) {
lines:
	for line := range strings.Lines(p.Log()) {
		for _, word := range words {
			if !strings.Contains(line, word) {
				continue lines
			}
		}
		n++
	}
	return n
}

// reportedOnce asserts that the pod's log tells of a degradation and of its end,
// and of no more degradations than there were: not of retries.
func reportedOnce(t *testing.T, p *pod.Pod, topic string, atMost int) {
	t.Helper()
	awaited(t, time.Now(), 2*time.Second, "the log tells that it is over: "+topic, func() bool {
		return logged(p, `"recovered"`, `"topic":"`+topic+`"`) > 0
	})
	if n := logged(p, `"degraded"`, `"topic":"`+topic+`"`); n < 1 || n > atMost {
		t.Errorf("%d times degraded in the log, want 1 to %d: %s", n, atMost, topic)
	}
}
