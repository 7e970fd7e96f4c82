package httpx

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"platform-settings/internal/settings"
	"platform-settings/test/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// patience is how long a test waits for an event that must occur.
const patience = 30 * time.Second

// One token for each role.
const (
	viewerToken   = "viewer-token-0123456789abcdef0123"
	operatorToken = "operator:token-0123456789abcdef01"
	adminToken    = "admin-token-0123456789abcdef01234"
	wrongToken    = "wrong-token-0123456789abcdef01234"
)

func testTokens(t *testing.T) *Tokens {
	t.Helper()
	return loadTokens(t, "vera:viewer:"+viewerToken+", otto:operator:"+operatorToken+",ada:admin:"+adminToken, "")
}

func loadTokens(t *testing.T, variable, file string) *Tokens {
	t.Helper()
	fixed, err := ParseTokens(variable)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := LoadTokens(fixed, file, nil)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// newEngine makes an engine on a new database, without running it.
func newEngine(t *testing.T) *settings.Engine {
	t.Helper()
	return newEngineOn(t, pgtest.Database(t))
}

func newEngineOn(t *testing.T, database string) *settings.Engine {
	t.Helper()
	config, err := settings.PoolConfig(database, t.Name())
	if err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	listen, err := settings.ListenConfig(database, t.Name())
	if err != nil {
		t.Fatal(err)
	}
	engine, err := settings.New(settings.Config{Pool: pool, Listen: listen, Pod: "pod-1", Build: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return engine
}

// runEngine runs an engine until the test ends, and waits for its first snapshot.
func runEngine(t *testing.T, engine *settings.Engine) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = engine.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	waiting, done := context.WithTimeout(t.Context(), patience)
	defer done()
	if err := engine.Ready(waiting); err != nil {
		t.Fatal(err)
	}
	for engine.Status().Listener != "live" { // the first snapshot may be the poller's
		if waiting.Err() != nil {
			t.Fatal("the listener never was live")
		}
		time.Sleep(time.Millisecond)
	}
}

// service is a server that listens on an address of its own.
type service struct {
	*Server
	address string
	logs    *observer.ObservedLogs
}

// serve starts a server with a running engine; edit may change its config.
func serve(t *testing.T, edit func(*Config)) *service {
	t.Helper()
	engine := newEngine(t)
	runEngine(t, engine)
	return serveOn(t, engine, edit)
}

func serveOn(t *testing.T, engine *settings.Engine, edit func(*Config)) *service {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	config := Config{
		Engine: engine, Tokens: testTokens(t), Pod: "pod-1",
		Log: zap.New(core), Registry: prometheus.NewRegistry(),
	}
	if edit != nil {
		edit(&config)
	}
	s, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(nil)
	server.Config = s.httpServer(s.public)
	server.Listener = newListener(server.Listener, 0, &s.metrics.publicConnections, s.draining)
	server.Start()
	t.Cleanup(server.Close)
	return &service{s, server.URL, logs}
}

// upstream starts a platform that records the requests it gets.
func upstream(t *testing.T, h http.HandlerFunc) (address *url.URL, asked func() []string) {
	t.Helper()
	var mu sync.Mutex
	var paths []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		paths = append(paths, r.Method+" "+r.RequestURI)
		mu.Unlock()
		if h != nil {
			h(w, r)
		}
	}))
	t.Cleanup(server.Close)
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return address, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), paths...)
	}
}

// request is a request to send. The path is sent exactly as it is written.
type request struct {
	method, path, token, body string
	header                    http.Header
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (s *service) do(t *testing.T, r request) answer {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), r.method, s.address+r.path, strings.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(q.Header, r.header)
	if r.token != "" {
		q.Header.Set("Authorization", "Bearer "+r.token)
	}
	if r.body != "" && q.Header.Get("Content-Type") == "" {
		q.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultTransport.RoundTrip(q)
	if err != nil {
		t.Fatalf("%s %s: %v", r.method, r.path, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", r.method, r.path, err)
	}
	return answer{res.StatusCode, res.Header, string(body)}
}

func (s *service) get(t *testing.T, path, token string) answer {
	t.Helper()
	return s.do(t, request{method: "GET", path: path, token: token})
}

// put sends a PUT as an admin. If it fails, so does the test.
func (s *service) put(t *testing.T, path, body string) answer {
	t.Helper()
	a := s.do(t, request{method: "PUT", path: "/api/v1/admin/" + path, token: adminToken, body: body})
	if a.status >= 300 {
		t.Fatalf("PUT %s %s: %d %s", path, body, a.status, a.body)
	}
	return a
}

// written returns the answer to a write, without the fleet, which has tests of its own.
func (a answer) written(t *testing.T) map[string]any {
	t.Helper()
	v := a.json(t)
	if _, ok := v["fleet"].(map[string]any); !ok {
		t.Errorf("no fleet in %s", a.body)
	}
	delete(v, "fleet")
	return v
}

func (a answer) json(t *testing.T) (v map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	return v
}

// wantProblem checks that an answer is a complete problem of the type.
func (a answer) wantProblem(t *testing.T, status int, slug string) map[string]any {
	t.Helper()
	if a.status != status || a.header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("answer is %d %s, want a problem with %d %s: %s", a.status, a.header.Get("Content-Type"), status, slug, a.body)
	}
	p := a.json(t)
	if want := "urn:platform-settings:problem:" + slug; p["type"] != want || p["status"] != float64(status) {
		t.Errorf("problem is %v %v, want %d %s: %s", p["status"], p["type"], status, want, a.body)
	}
	for _, member := range []string{"title", "detail", "instance"} {
		if s, _ := p[member].(string); s == "" {
			t.Errorf("problem %s has no %s", slug, member)
		}
	}
	return p
}

// logged waits for a log entry, because it may be written after the answer was read.
func (s *service) logged(t *testing.T, message string, match func(fields map[string]any) bool) map[string]any {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		for _, entry := range s.logs.FilterMessage(message).All() {
			if fields := entry.ContextMap(); match(fields) {
				fields["level"] = entry.Level.String()
				return fields
			}
		}
	}
	t.Fatalf("no log entry %q of that kind", message)
	return nil
}
