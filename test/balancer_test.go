package test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"platform-settings/test/pgtest"
	"platform-settings/test/pod"
)

// balancer is a load balancer in front of a pod. The test decides which requests it
// answers itself.
type balancer struct {
	*httptest.Server
	mu       sync.Mutex
	requests []string // methods, in the order of arrival
	token    []string // the Authorization header of each
}

// balance starts a balancer. own either answers a request and returns true, or leaves
// it to the pod; n counts the requests with this method, from 1 on.
func balance(t *testing.T, p *pod.Pod, own func(w http.ResponseWriter, r *http.Request, n int) bool) *balancer {
	t.Helper()
	b := &balancer{}
	to := &url.URL{Scheme: "http"}
	if p != nil {
		to.Host = p.Addr()
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := b.count(r)
		if !own(w, r, n) {
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(b.Close)
	return b
}

func (b *balancer) count(r *http.Request) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.requests = append(b.requests, r.Method)
	b.token = append(b.token, r.Header.Get("Authorization"))
	for _, method := range b.requests {
		if method == r.Method {
			n++
		}
	}
	return n
}

func (b *balancer) seen() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.requests, " ")
}

// run runs one of the binary's commands with only these variables.
func run(t *testing.T, variables []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), pod.Binary(t), args...)
	cmd.Env = variables
	var out, errors bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errors
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errors.String()
}

// as is the environment of a command that talks to this address.
func as(token, address string) []string { return []string{"API_URL=" + address, "API_TOKEN=" + token} }

// abort cuts the connection after the bytes written so far.
func abort(w http.ResponseWriter) {
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// faults are answers that no pod gives, with what the command prints about them.
var faults = map[string]struct {
	says   string
	answer func(w http.ResponseWriter, r *http.Request)
}{
	"bad gateway":         {"502 Bad Gateway, but does not look like a pod", page(502)},
	"unavailable":         {"503 Service Unavailable, but does not look like a pod", page(503)},
	"gateway timeout":     {"504 Gateway Timeout, but does not look like a pod", page(504)},
	"not found":           {"404 Not Found, but does not look like a pod; check API_URL", page(404)},
	"forbidden by others": {"403 Forbidden, but does not look like a pod", foreignProblem(403)},
	"too many requests":   {"429 Too Many Requests, but does not look like a pod", page(429)},
	"nothing":             {"200 OK, but does not look like a pod", func(http.ResponseWriter, *http.Request) {}},
	"foreign JSON":        {"200 OK, but does not look like a pod", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"revision":7}`) }},
	"redirect": {"302 Found, but does not look like a pod", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	}},
	"a connection that breaks": {"the connection broke off", func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }},
	"a reset": {"connection reset by peer", func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.(*net.TCPConn).SetLinger(0)
			_ = conn.Close()
		}
	}},
	"half an answer": {"the connection broke off", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		fmt.Fprint(w, `{"revision":2,"pods":[`)
		abort(w)
	}},
}

func page(status int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		fmt.Fprint(w, "<html><body><h1>no pod</h1></body></html>")
	}
}

func foreignProblem(status int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"type":"about:blank","title":"No","status":%d,"detail":"not so fast"}`, status)
	}
}

func TestTheCommandAsksAgainWhateverABalancerAnswers(t *testing.T) {
	p := pod.Fleet(t, 1, pgtest.Database(t))[0]
	for name, fault := range faults {
		b := balance(t, p, func(w http.ResponseWriter, r *http.Request, n int) bool {
			if n > 2 {
				return false
			}
			fault.answer(w, r)
			return true
		})
		commands := [][]string{{"maintenance", "on"}}
		if name == "bad gateway" {
			commands = append(commands, []string{"maintenance", "off"}, []string{"fleet"})
		}
		for _, args := range commands {
			b.mu.Lock()
			b.requests = nil
			b.mu.Unlock()
			code, out, errors := run(t, as(pod.Operator, b.URL), append(args, "--wait", "30s")...)
			if code != 0 || !strings.Contains(out, "1 of 1 pods have it") {
				t.Errorf("%s, %v: exit code %d\n%s%s", name, args, code, out, errors)
			}
			// The client may see a reset as the end of the stream, depending on when it
			// comes.
			if strings.Count(errors, "retrying:") != 1 || !strings.Contains(errors, fault.says) && name != "a reset" {
				t.Errorf("%s, %v: want one line with %q:\n%s", name, args, fault.says, errors)
			}
		}
	}
}

func TestAPodThatCannotBeReachedYetIsAskedAgain(t *testing.T) {
	p := pod.Fleet(t, 1, pgtest.Database(t))[0]
	hold, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := hold.Addr().String()
	_ = hold.Close()
	cmd := exec.CommandContext(t.Context(), pod.Binary(t), "maintenance", "on", "--wait", "30s")
	cmd.Env = as(pod.Operator, "http://"+address)
	pipe, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(pipe)
	if !lines.Scan() || !strings.Contains(lines.Text(), "connection refused") {
		t.Errorf("%q", lines.Text())
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: p.Addr()})
	}}}
	defer server.Close()
	go func() { _ = server.Serve(listener) }()
	rest, _ := io.ReadAll(pipe)
	if err := cmd.Wait(); err != nil || len(rest) > 0 {
		t.Errorf("%v\n%s", err, rest)
	}
}

// A pod that accepts and never answers must leave time to ask another one.
func TestSilenceDoesNotTakeTheWholeWait(t *testing.T) {
	p := pod.Fleet(t, 1, pgtest.Database(t))[0]
	b := balance(t, p, func(w http.ResponseWriter, r *http.Request, n int) bool {
		if r.Method != "GET" || n > 1 {
			return false
		}
		<-r.Context().Done()
		return true
	})
	code, out, errors := run(t, as(pod.Operator, b.URL), "maintenance", "on", "--wait", "4s")
	if code != 0 || !strings.Contains(errors, "no answer in time") || b.seen() != "PUT GET GET" {
		t.Errorf("exit code %d, %s\n%s%s", code, b.seen(), out, errors)
	}
}

func TestAPodsOwnRefusalEndsTheCommandAtOnce(t *testing.T) {
	p := pod.Fleet(t, 1, pgtest.Database(t))[0]
	for name, c := range map[string]struct {
		token, says, seen string
		args              []string
	}{
		"no token":      {"", "401", "PUT", []string{"maintenance", "on"}},
		"another token": {"another-token-0123456789-0123456789", "401", "GET", []string{"fleet"}},
		"lesser role":   {pod.Viewer, "403", "PUT", []string{"maintenance", "on"}},
		"a bad field":   {pod.Operator, "422", "PUT", []string{"maintenance", "on", "--message", strings.Repeat("x", 100_000)}},
	} {
		b := balance(t, p, func(http.ResponseWriter, *http.Request, int) bool { return false })
		code, out, errors := run(t, as(c.token, b.URL), append(c.args, "--wait", "30s")...)
		if code != 1 || out != "" || !strings.Contains(errors, c.says) || strings.Count(errors, "\n") != 1 || b.seen() != c.seen {
			t.Errorf("%s: exit code %d, %s\n%s%s", name, code, b.seen(), out, errors)
		}
	}
}

func TestAChangeWhoseWaitNeverGotAnAnswerIsCommitted(t *testing.T) {
	p := pod.Fleet(t, 1, pgtest.Database(t))[0]
	b := balance(t, p, func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if r.Method == "GET" {
			page(502)(w, r)
		}
		return r.Method == "GET"
	})
	for _, wait := range []string{"0", "1s"} {
		code, out, errors := run(t, as(pod.Operator, b.URL), "maintenance", "on", "--wait", wait)
		if code != 3 || !strings.Contains(out, "it is not known which pods have it") || !strings.Contains(errors, "is committed") || !strings.Contains(errors, "returned 502 Bad Gateway") {
			t.Errorf("on, --wait %s: exit code %d\n%s%s", wait, code, out, errors)
		}
		if code, out, errors := run(t, as(pod.Operator, b.URL), "fleet", "--wait", wait); code != 1 || !strings.Contains(errors, "returned 502 Bad Gateway") {
			t.Errorf("fleet, --wait %s: exit code %d\n%s%s", wait, code, out, errors)
		}
	}
	if got := p.Status("/"); got != 503 {
		t.Errorf("the pod answers %d", got)
	}
}

func TestItIsSaidWhetherAChangeMayHaveBeenMade(t *testing.T) {
	const unknown, none, again = "it is not known whether the change was made: ", "nothing was changed: ", "; it is safe to repeat"
	broken := func(w http.ResponseWriter, r *http.Request, _ int) bool { page(502)(w, r); return true }
	podSays := func(slug string) func(http.ResponseWriter, *http.Request, int) bool {
		return func(w http.ResponseWriter, _ *http.Request, _ int) bool {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(503)
			fmt.Fprintf(w, `{"type":"urn:platform-settings:problem:%s","title":"%[1]s","status":503,"detail":"d"}`, slug)
			return true
		}
	}
	for name, c := range map[string]struct {
		own  func(http.ResponseWriter, *http.Request, int) bool
		says string
	}{
		"no pod":        {broken, unknown},
		"unknown":       {podSays("outcome-unknown"), unknown},
		"not available": {podSays("database-unavailable"), "503: database-unavailable: d"},
		"unknown at first": {func(w http.ResponseWriter, r *http.Request, n int) bool {
			if n == 1 {
				return broken(w, r, n)
			}
			return podSays("database-unavailable")(w, r, n)
		}, unknown + "503: database-unavailable"},
	} {
		b := balance(t, nil, c.own)
		code, _, errors := run(t, as(pod.Operator, b.URL), "maintenance", "on", "--wait", "1s")
		lines := strings.Split(strings.TrimSpace(errors), "\n")
		last := lines[len(lines)-1]
		if code != 1 || !strings.HasPrefix(last, "api: "+c.says) || strings.HasPrefix(c.says, unknown) != strings.HasSuffix(last, again) || strings.Count(b.seen(), "PUT") < 2 {
			t.Errorf("%s: exit code %d, %s\n%s", name, code, b.seen(), errors)
		}
		if name == "no pod" {
			asked := strings.Count(b.seen(), "PUT")
			if code, _, errors := run(t, as(pod.Operator, b.URL), "maintenance", "on", "--wait", "0"); code != 1 || !strings.Contains(errors, unknown) || strings.Count(b.seen(), "PUT") != asked+1 {
				t.Errorf("--wait 0: exit code %d, %s\n%s", code, b.seen(), errors)
			}
		}
	}
	gone := balance(t, nil, broken)
	gone.Close()
	if code, _, errors := run(t, as(pod.Operator, gone.URL), "maintenance", "on", "--wait", "1s"); code != 1 || !strings.Contains(errors, none) || !strings.Contains(errors, again) {
		t.Errorf("connection refused: exit code %d\n%s", code, errors)
	}
}

// The pod says how long to wait before the next request, and the command obeys.
func TestTooManyRequestsAreWaitedOut(t *testing.T) {
	p := pod.Fleet(t, 1, pgtest.Database(t))[0]
	var refused, askedAgain atomic.Int64
	b := balance(t, p, func(w http.ResponseWriter, r *http.Request, n int) bool {
		switch {
		case r.Method == "PUT" && n == 1:
			refused.Store(time.Now().UnixNano())
			w.Header().Set("Content-Type", "application/problem+json")
			w.Header().Set("Retry-After", "2")
			w.WriteHeader(429)
			fmt.Fprint(w, `{"type":"urn:platform-settings:problem:too-many-requests","title":"Too many","status":429,"detail":"d"}`)
			return true
		case r.Method == "PUT":
			askedAgain.Store(time.Now().UnixNano())
		}
		return false
	})
	code, out, errors := run(t, as(pod.Operator, b.URL), "maintenance", "on")
	if rested := time.Duration(askedAgain.Load() - refused.Load()); code != 0 || rested < 2*time.Second {
		t.Errorf("exit code %d after a rest of %v\n%s%s", code, rested, out, errors)
	}
}

// The command retries while the pod's database is away.
func TestTheSwitchIsThrownOnceTheDatabaseIsBack(t *testing.T) {
	proxy, database := link(t, pgtest.Database(t))
	p := pod.Fleet(t, 1, database, "SETTINGS_TTL=200ms")[0]
	proxy.Refuse()
	proxy.Cut()
	healed := make(chan error, 1)
	b := balance(t, p, func(_ http.ResponseWriter, r *http.Request, n int) bool {
		if r.Method == "PUT" && n == 2 {
			healed <- proxy.Heal()
		}
		return false
	})
	code, out, errors := run(t, as(pod.Operator, b.URL), "maintenance", "on", "--wait", "60s")
	if code != 0 || !strings.Contains(errors, "returned 503: The database is not available") {
		t.Errorf("exit code %d\n%s%s", code, out, errors)
	}
	select {
	case err := <-healed:
		if err != nil {
			t.Error(err)
		}
	default:
		t.Errorf("the change was asked for once only: %s", b.seen())
	}
}

// The token is sent in clear text only to this machine, and to no proxy.
func TestTheTokenDoesNotLeaveTheMachineInClearText(t *testing.T) {
	p := pod.Fleet(t, 1, pgtest.Database(t))[0]
	none := func(http.ResponseWriter, *http.Request, int) bool { return false }
	b := balance(t, p, none)
	_, port, err := net.SplitHostPort(b.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	spy := balance(t, p, none)
	behind := func(host string) []string {
		return append(as(pod.Operator, "http://"+net.JoinHostPort(host, port)), "HTTP_PROXY="+spy.URL, "http_proxy="+spy.URL, "ALL_PROXY="+spy.URL)
	}
	// The dialer treats 0.0.0.0 as this machine, but it is not a loopback address.
	for _, host := range []string{"0.0.0.0", "pod.example", "localhost.example", "127.0.0.1.example", "10.0.0.1", "::", "fe80::1"} {
		for _, args := range [][]string{{"maintenance", "on"}, {"maintenance", "off"}, {"fleet"}} {
			code, out, errors := run(t, behind(host), args...)
			if code != 1 || out != "" || strings.Count(errors, "\n") != 1 || !strings.Contains(errors, "https") || !strings.Contains(errors, "--insecure") || strings.Contains(errors, pod.Operator) {
				t.Errorf("%s, %v: exit code %d\n%s%s", host, args, code, out, errors)
			}
		}
	}
	if b.seen() != "" {
		t.Errorf("it was sent: %s", b.seen())
	}
	for _, host := range []string{"localhost", "LocalHost", "127.0.0.1", "::ffff:127.0.0.1"} {
		if code, out, errors := run(t, behind(host), "fleet"); code != 0 {
			t.Errorf("%s: exit code %d\n%s%s", host, code, out, errors)
		}
	}
	if code, out, errors := run(t, behind("0.0.0.0"), "fleet", "--insecure"); code != 0 {
		t.Errorf("--insecure: exit code %d\n%s%s", code, out, errors)
	}
	// A command that needs no token sends none, so it may talk to any address.
	if code, out, errors := run(t, behind("0.0.0.0"), "maintenance", "status"); code != 0 {
		t.Errorf("status: exit code %d\n%s%s", code, out, errors)
	}
	if sent := b.token[len(b.token)-1]; sent != "" {
		t.Errorf("status sent %q", sent)
	}
	if spy.seen() != "" {
		t.Errorf("the proxy of the environment got %v", spy.token)
	}
}
