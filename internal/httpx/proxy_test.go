package httpx

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRequestsReachTheUpstreamAsTheyCame(t *testing.T) {
	type seen struct {
		method, uri, host, body string
		header                  http.Header
	}
	requests := make(chan seen, 1)
	address, _ := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		requests <- seen{r.Method, r.RequestURI, r.Host, string(body), r.Header}
		w.Header().Set("X-Request-Id", "the upstream's own")
		w.Header().Set("X-Upstream", "yes")
		w.Header().Set("Trailer", "X-Sum")
		w.WriteHeader(418)
		_, _ = io.WriteString(w, "<short>")
		w.Header().Set("X-Sum", "7")
	})
	address.Path = "/base"
	s := serve(t, func(c *Config) { c.Upstream = address })
	large := strings.Repeat("x", maxBody+1)
	a := s.do(t, request{
		method: "MKCOL", path: "/a%2Fb/c%20d;e/?q=%zz;y&q=2", token: "whatever", body: large,
		header: http.Header{
			"Content-Type": {"text/x"}, "X-Request-Id": {"r-7"}, "X-Custom": {"1", "2"}, "Connection": {"X-Hop"}, "X-Hop": {"gone"},
			"X-Forwarded-For": {"192.0.2.66"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"evil"}, "Forwarded": {"for=evil"},
		},
	})
	got := <-requests
	if got.method != "MKCOL" || got.uri != "/base/a%2Fb/c%20d;e/?q=%zz;y&q=2" || got.host != strings.TrimPrefix(s.address, "http://") || got.body != large {
		t.Errorf("the upstream got %s %s, host %s, %d bytes", got.method, got.uri, got.host, len(got.body))
	}
	for _, name := range []string{"Accept-Encoding", "Content-Length", "User-Agent"} {
		got.header.Del(name)
	}
	want := http.Header{
		"Authorization": {"Bearer whatever"}, "Content-Type": {"text/x"}, "X-Request-Id": {"r-7"}, "X-Custom": {"1", "2"},
		"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {got.host},
	}
	if diff := cmp.Diff(want, got.header); diff != "" {
		t.Errorf("the upstream's request header (-want +got):\n%s", diff)
	}
	if a.status != 418 || a.body != "<short>" || a.header.Get("X-Upstream") != "yes" {
		t.Errorf("answer: %d %q %v", a.status, a.body, a.header)
	}
	if diff := cmp.Diff([]string{"r-7"}, a.header["X-Request-Id"]); diff != "" {
		t.Errorf("the answer's request id (-want +got):\n%s", diff)
	}
	if a.header.Get("X-Content-Type-Options") != "" {
		t.Error("the upstream's answer has a header of ours")
	}
	s.logged(t, "request", func(f map[string]any) bool {
		return f["route"] == "/*" && f["status"] == int64(418) && f["bytes"] == int64(7)
	})
}

func TestATrustedProxysForwardedHeadersAreKept(t *testing.T) {
	headers := make(chan http.Header, 1)
	address, _ := upstream(t, func(_ http.ResponseWriter, r *http.Request) { headers <- r.Header })
	s := serve(t, func(c *Config) {
		c.Upstream, c.TrustedProxies = address, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	s.do(t, request{method: "GET", path: "/", header: http.Header{
		"X-Forwarded-For": {"192.0.2.66, 10.0.0.1"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"shop.example"},
	}})
	got := <-headers
	want := []string{"192.0.2.66, 10.0.0.1, 127.0.0.1", "https", "shop.example"}
	if diff := cmp.Diff(want, []string{got.Get("X-Forwarded-For"), got.Get("X-Forwarded-Proto"), got.Get("X-Forwarded-Host")}); diff != "" {
		t.Errorf("X-Forwarded-… (-want +got):\n%s", diff)
	}
}

func TestAnUpstreamThatIsDownIs502(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	s := serve(t, func(c *Config) { c.Upstream = &url.URL{Scheme: "http", Host: listener.Addr().String()} })
	a := s.get(t, "/orders", "")
	a.wantProblem(t, 502, "upstream-unreachable")
	if strings.Contains(a.body, "refused") || a.header.Get("X-Request-ID") == "" {
		t.Errorf("answer: %v %s", a.header, a.body)
	}
	s.logged(t, "failed", func(f map[string]any) bool { return strings.Contains(fmt.Sprint(f["error"]), "refused") })
}

func TestAnUpstreamThatBreaksOffIsNotTakenForWhole(t *testing.T) {
	address, _ := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(w, "half")
	})
	s := serve(t, func(c *Config) { c.Upstream = address })
	if res, err := http.Get(s.address + "/"); err == nil {
		defer res.Body.Close()
		if body, err := io.ReadAll(res.Body); err == nil {
			t.Errorf("got %q as if it were whole", body)
		}
	}
	s.logged(t, "request", func(f map[string]any) bool { return f["status"] == int64(200) })
	if entries := s.logs.FilterMessage("panic").All(); len(entries) != 0 {
		t.Errorf("it is logged as a fault of ours: %v", entries)
	}
}

func TestStreamsPassAsTheyCome(t *testing.T) {
	next := make(chan struct{})
	address, _ := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 2 {
			fmt.Fprintf(w, "data: %d\n", i)
			w.(http.Flusher).Flush()
			<-next
		}
	})
	s := serve(t, func(c *Config) { c.Upstream = address })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", s.address+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewReader(res.Body)
	for i := range 2 {
		// The upstream waits until this line was read.
		if line, err := lines.ReadString('\n'); err != nil || line != fmt.Sprintf("data: %d\n", i) {
			t.Fatalf("line %d: %q, %v", i, line, err)
		}
		next <- struct{}{}
	}
}

func TestWebsocketsPass(t *testing.T) {
	address, _ := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
		_ = rw.Flush()
		line, _ := rw.ReadString('\n')
		fmt.Fprintf(rw, "echo %s", line)
		_ = rw.Flush()
	})
	s := serve(t, func(c *Config) { c.Upstream = address })
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.address, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	answers := bufio.NewReader(conn)
	res, err := http.ReadResponse(answers, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", res, err)
	}
	fmt.Fprint(conn, "hello\n")
	if line, err := answers.ReadString('\n'); err != nil || line != "echo hello\n" {
		t.Errorf("got %q, %v", line, err)
	}
	conn.Close()
	s.logged(t, "request", func(f map[string]any) bool { return f["path"] == "/ws" && f["status"] == int64(101) })
}

// Echo takes the first status that is written for the last.
func TestInformationalAnswersPass(t *testing.T) {
	address, _ := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		body, _ := io.ReadAll(r.Body) // sends 100 Continue
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write(body)
	})
	s := serve(t, func(c *Config) { c.Upstream = address })
	a := s.do(t, request{method: "POST", path: "/", body: "hello", header: http.Header{"Expect": {"100-continue"}}})
	if a.status != http.StatusCreated || a.body != "hello" || len(a.header["X-Request-Id"]) != 1 {
		t.Errorf("%d %q %v", a.status, a.body, a.header)
	}
	s.logged(t, "request", func(f map[string]any) bool { return f["status"] == int64(201) })
}

func TestARequestThatHasPassedTheGateMayFinish(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	address, _ := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		_, _ = io.WriteString(w, "done")
	})
	s := serve(t, func(c *Config) { c.Upstream = address })
	finish := sync.OnceFunc(func() { close(release) })
	defer finish()
	finished := make(chan answer, 1)
	go func() { finished <- s.do(t, request{method: "GET", path: "/slow"}) }()
	<-arrived
	s.put(t, "maintenance", `{"enabled":true}`)
	s.get(t, "/slow", "").wantProblem(t, 503, "maintenance")
	finish()
	if a := <-finished; a.status != 200 || a.body != "done" {
		t.Errorf("the request got %d %q", a.status, a.body)
	}
}

func TestOurTokensAndMadeUpAddressesDoNotReachTheUpstream(t *testing.T) {
	headers := make(chan http.Header, 1)
	address, _ := upstream(t, func(_ http.ResponseWriter, r *http.Request) { headers <- r.Header })
	s := serve(t, func(c *Config) { c.Upstream = address })
	for token, want := range map[string]string{adminToken: "", "the platform's own": "Bearer the platform's own"} {
		s.do(t, request{path: "/x", token: token, header: http.Header{"X-Real-Ip": {"192.0.2.66"}}})
		got := <-headers
		if got.Get("Authorization") != want || got.Get("X-Real-Ip") != "" {
			t.Errorf("the upstream got %q, %q", got.Get("Authorization"), got.Get("X-Real-Ip"))
		}
	}
}
