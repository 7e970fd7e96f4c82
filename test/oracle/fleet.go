package oracle

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"platform-settings/internal/pgserver"
	"platform-settings/test/faultproxy"
	"platform-settings/test/pod"
)

// ttl of every pod.
const ttl = 500 * time.Millisecond

// place is a pod's name and its own path to the database. Its process is replaced
// when it is killed.
type place struct {
	t         testing.TB
	journal   *journal
	name      string
	proxy     *faultproxy.Proxy
	url       string
	variables []string

	lives   int
	current atomic.Pointer[life]
}

// life is one process.
type life struct {
	*pod.Pod
	name   string
	killed atomic.Bool

	// floor is the highest revision that this process has shown to anybody. It must
	// not show a lower one afterwards.
	floor atomic.Int64
}

func newPlace(t testing.TB, j *journal, number int, server *pgserver.Server, jitter *rand.Rand) *place {
	p := &place{t: t, journal: j, name: fmt.Sprintf("pod-%d", number)}
	var err error
	if p.proxy, err = faultproxy.Start(fmt.Sprintf("%s:%d", server.Host(), server.Port())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.proxy.Close)
	p.jitter(jitter)
	through, err := url.Parse(server.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	through.Host = p.proxy.Addr()
	p.url = through.String()
	p.variables = []string{"POD_NAME=" + p.name, "SETTINGS_TTL=" + ttl.String(), "LOG_LEVEL=warn"}
	if number != 2 { // one pod goes without
		p.variables = append(p.variables, "LAST_GOOD_FILE="+filepath.Join(t.TempDir(), "last-good"))
	}
	return p
}

// jitter delays one connection now and then while the others go on, so that
// notifications and answers overtake each other. Most of all this concerns the long
// answers, which are readings of the whole table.
func (p *place) jitter(rng *rand.Rand) {
	var mu sync.Mutex
	p.proxy.OnBytes(func(_ int, from faultproxy.Side, b []byte) {
		mu.Lock()
		n, wait := rng.IntN(100), time.Duration(rng.IntN(20))*time.Millisecond
		mu.Unlock()
		if from == faultproxy.Server && (n < 2 || n < 30 && len(b) > 4096) {
			time.Sleep(wait)
		}
	})
}

// start starts the next process.
func (p *place) start() {
	p.lives++
	l := &life{Pod: pod.Start(p.t, p.url, p.variables...), name: fmt.Sprintf("%s.%d", p.name, p.lives)}
	p.current.Store(l)
	go func() {
		<-l.Exited()
		if !l.killed.Load() {
			p.journal.violation("%s ended by itself:\n%s", l.name, end(l.Log()))
		}
		p.journal.listen(l)
	}()
}

// listen searches a process's log for events that no fault of this package can
// cause.
func (j *journal) listen(l *life) {
	for _, never := range []string{"the database went back", "rows changed without a commit", "DATA RACE"} {
		for line := range strings.Lines(l.Log()) {
			if strings.Contains(line, never) {
				j.violation("%s logged: %s", l.name, line)
			}
		}
	}
}

// end is the end of a log: from the Go runtime's panic on, if there is one.
func end(log string) string {
	for _, word := range []string{"fatal error: ", "panic: "} {
		if _, after, found := strings.Cut(log, word); found {
			return word + after[:min(len(after), 4000)]
		}
	}
	return log[max(0, len(log)-4000):]
}

// inject starts a fault, and returns the function that ends it.
func (p *place) inject(f fault, terminate func(application string, n int)) (heal func()) {
	l := p.current.Load()
	mend := func() {
		if err := p.proxy.Heal(); err != nil {
			p.t.Errorf("%s: %v", p.name, err)
		}
	}
	switch f.kind {
	case cut:
		p.proxy.Cut()
	case refused:
		p.proxy.Refuse()
		p.proxy.Cut()
		return mend
	case dark:
		p.proxy.Stall()
		return mend
	case deaf:
		p.proxy.StallFrom(faultproxy.Server)
		return mend
	case hiccup:
		stop, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			for length := time.Duration(1+f.amount%15) * time.Millisecond; ; {
				p.proxy.Stall()
				time.Sleep(length)
				mend()
				select {
				case <-stop:
					return
				case <-time.After(length):
				}
			}
		}()
		return func() {
			close(stop)
			<-ended
		}
	case slow:
		p.proxy.Delay(time.Duration(f.amount/10) * time.Millisecond)
		return mend
	case backend:
		terminate("platform-settings "+p.name, f.amount)
	case stopped:
		l.Signal(syscall.SIGSTOP)
		return func() { l.Signal(syscall.SIGCONT) }
	case killed:
		l.leave()
		return p.start
	}
	return func() {}
}

// leave kills the process on purpose.
func (l *life) leave() {
	l.killed.Store(true)
	l.Kill()
}

// ask sends a request to this process.
func (l *life) ask(ctx context.Context, method, path, body string, header ...string) (pod.Answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, l.URL(path), strings.NewReader(body))
	if err != nil {
		return pod.Answer{}, err
	}
	request.Header.Set("Authorization", "Bearer "+pod.Admin)
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := l.Client.Do(request)
	if err != nil {
		return pod.Answer{}, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	return pod.Answer{Status: response.StatusCode, Header: response.Header, Body: content}, err
}

// shown raises the floor.
func (l *life) shown(revision int64) {
	for {
		floor := l.floor.Load()
		if revision <= floor || l.floor.CompareAndSwap(floor, revision) {
			return
		}
	}
}
