package proxies

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// front is a proxy with one of its files.
type front struct {
	name       string
	program    program
	files      []string
	podsPassOn bool // else the proxy asks, and passes on itself
	probes     bool // the proxy asks the pods for /readyz
	http2      bool // is what visitors speak
}

var fronts = []front{
	{"nginx, asking", nginx, []string{"proxies/nginx/forward-auth.conf"}, false, false, false},
	{"HAProxy, asking", haproxy, []string{"proxies/haproxy/forward-auth.cfg", "proxies/haproxy/gate.lua"}, false, true, false},
	{"Caddy, asking", caddy, []string{"proxies/caddy/forward-auth.Caddyfile"}, false, true, false},
	{"nginx, in front", nginx, []string{"proxies/nginx/front.conf"}, true, false, false},
	{"HAProxy, in front", haproxy, []string{"proxies/haproxy/front.cfg"}, true, true, false},
	{"Caddy, in front", caddy, []string{"Caddyfile"}, true, true, false}, // the one that docker-compose.yml uses
	{"nghttpx, in front", nghttpx, []string{"proxies/nghttpx/front.conf"}, true, false, true},
}

func TestAProxyHoldsTheGate(t *testing.T) {
	t.Parallel()
	for _, f := range fronts {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			holdsTheGate(t, f)
		})
	}
}

// holdsTheGate takes a fleet through maintenance, and looks at it as a visitor of
// the proxy.
func holdsTheGate(t *testing.T, f front) {
	f.program.path(t) // skips the test if there is none
	fleet := newFleet(t, f.podsPassOn)
	v := newVisitor(t, f.program.start(t, fleet.addresses, f.files...), f.http2)
	old := f.program.name == "caddy" && caddyIsOld(t)

	turns := 2 * len(fleet.pods) // so many requests that each pod gets some
	passes := func(when string) {
		t.Helper()
		for range turns {
			if a := v.ask(t, "GET", "/orders?page=2", nil); a.status != 200 || string(a.body) != "GET /orders?page=2 at the platform" {
				t.Errorf("%s, GET: %d %s", when, a.status, a.body)
			}
		}
	}
	refused := func(when string, methods ...string) {
		t.Helper()
		before := fleet.platform.requests.Load()
		for _, method := range methods {
			for range turns {
				v.ask(t, method, "/orders/7?page=2", nil, "Accept", "text/html").wantRefusal(t, when+", "+method)
			}
		}
		if !old {
			v.ask(t, "POST", "/digest", strings.NewReader(strings.Repeat("x", 200<<10)), "Accept", "text/html").wantRefusal(t, when+", POST of 200 kB")
			v.begin(t, "some").wantRefusal(t, when+", POST with a part of its body")
		}
		if !old && f.program.name != "nghttpx" { // which sends nothing to a pod before the body begins
			v.begin(t, "").wantRefusal(t, when+", POST without its body")
		}
		_, _, response := v.say(t, handshake("websocket"))
		readAnswer(t, response).wantRefusal(t, when+", a websocket's handshake")
		v.ask(t, "GET", "/orders/7", nil, "Accept", "text/html", "X-HTTP-Method-Override", "GET", "X-HTTP-Method-Override", "DELETE").wantRefusal(t, when+", a method override")
		v.ask(t, "GET", "/orders/7?_method=DELETE", nil, "Accept", "text/html").wantRefusal(t, when+", a method in the query")
		v.ask(t, "DELETE", "/orders/7", nil, "Accept", "text/html", "X-Forwarded-Method", "GET", "X-Original-Method", "GET").wantRefusal(t, when+", a DELETE that says it is a GET")
		if n := fleet.platform.requests.Load() - before; n != 0 {
			t.Errorf("%s: %d requests reached the platform", when, n)
		}
	}

	passes("open")
	v.wantUploads(t, "/digest", digest)
	if !old {
		v.wantUploads(t, "/echo", itself)
	}
	v.wantSocket(t)
	if a := v.ask(t, "GET", "/forbidden", nil); a.status != 403 || string(a.body) != "the platform's own\n" {
		t.Errorf("the platform's own 403 arrives as %d %s", a.status, a.body)
	}
	if _, _, response := v.say(t, handshake("h2c")); response.StatusCode == 101 || fleet.platform.upgrades.Load() != 1 {
		t.Errorf("h2c: %s, and the platform was asked for %d upgrades", response.Status, fleet.platform.upgrades.Load())
	}

	v.ask(t, "GET", "/", nil, "X-Forwarded-For", "203.0.113.9", "Forwarded", "for=203.0.113.9")
	if h := fleet.platform.last.Load().Header; !strings.HasPrefix(h.Get("X-Forwarded-For"), "127.0.0.1") || strings.Contains(fmt.Sprint(h), "203.0.113.9") {
		t.Errorf("a visitor says where it comes from, and the platform is told so: %v", h)
	}

	fleet.maintain(t, closed)
	if f.probes {
		fleet.awaitProbes(t)
	}
	refused("closed", "GET", "DELETE", "PUT")
	if a := v.ask(t, "GET", "/", nil); a.status != 503 || a.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("closed, GET of JSON: %d %v", a.status, a.header)
	}
	if a := v.ask(t, "HEAD", "/", nil); a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("closed, HEAD: %d %v", a.status, a.header)
	}
	asked := fleet.platform.requests.Load()
	if a := v.ask(t, "PUT", "/", nil, "Origin", shop); a.status != 503 || a.header.Get("Access-Control-Allow-Origin") != shop {
		t.Errorf("closed, PUT by a script: %d %v", a.status, a.header)
	}
	if a := v.ask(t, "OPTIONS", "/", nil, "Origin", shop, "Access-Control-Request-Method", "PUT"); a.status/100 != 2 || a.header.Get("Access-Control-Allow-Methods") != "PUT" {
		t.Errorf("closed, a script's preflight: %d %v", a.status, a.header)
	}
	if n := fleet.platform.requests.Load() - asked; n != 0 {
		t.Errorf("closed: %d requests of a script reached the platform", n)
	}

	fleet.maintain(t, readOnly)
	passes("read-only")
	refused("read-only", "DELETE", "PATCH")

	fleet.maintain(t, open) // so many 503s took no pod out
	passes("open again")

	fleet.pods[0].Kill() // with what a proxy has just sent to it
	deadline := time.Now().Add(patience)
	for passed := 0; passed < turns; passed++ {
		if a := v.ask(t, "GET", "/", nil); a.status != 200 {
			passed = -1
		}
		if time.Now().After(deadline) {
			t.Fatal("the others do not take over from a pod that is gone")
		}
	}

	for _, p := range fleet.pods[1:] {
		p.Kill()
	}
	before := fleet.platform.requests.Load()
	a := v.ask(t, "GET", "/", nil)
	if n := fleet.platform.requests.Load() - before; a.status < 500 || n != 0 {
		t.Errorf("no pod is there: %d %s, and %d requests reached the platform", a.status, a.body, n)
	}
}
