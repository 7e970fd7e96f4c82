package httpx

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"

	"platform-settings/test/selfsigned"
)

// secure is a service that speaks TLS, with the server that production uses.
type secure struct {
	*service
	server    *http.Server
	listener  *listener
	roots     *x509.CertPool
	transport *http.Transport // speaks HTTP/2, on one connection
}

// serveSecurely is [serve] with TLS; prepare may change the server.
func serveSecurely(t *testing.T, edit func(*Config), prepare ...func(*secure)) *secure {
	t.Helper()
	cert, key := selfsigned.Pair(t, time.Now().AddDate(1, 0, 0))
	certificate, err := LoadCertificate(newFile(t, string(cert)), newFile(t, string(key)), nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &secure{roots: x509.NewCertPool()}
	s.roots.AppendCertsFromPEM(cert)
	s.service = serve(t, func(c *Config) {
		c.Certificate = certificate
		if edit != nil {
			edit(c)
		}
	})
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.listener = newListener(inner, 0, &s.metrics.publicConnections, s.draining)
	s.address = "https://" + inner.Addr().String()
	s.transport = &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: s.roots}}
	s.server = s.httpServer(s.public)
	for _, p := range prepare {
		p(s)
	}
	go func() { _ = s.server.ServeTLS(s.listener, "", "") }()
	t.Cleanup(func() {
		s.transport.CloseIdleConnections()
		s.server.Close()
	})
	return s
}

// silent is a body that never arrives. It ends with the test.
func silent(t *testing.T) io.Reader {
	t.Helper()
	reader, writer := io.Pipe()
	t.Cleanup(func() { writer.Close() })
	return reader
}

// send sends a request by HTTP/2, and reports whether it reused a connection. A
// length of -1 means that the request does not announce one.
func (s *secure) send(t *testing.T, method, path, token string, body io.Reader, length int64) (res *http.Response, reused bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) { reused = c.Reused }})
	r, err := http.NewRequestWithContext(ctx, method, s.address+path, body)
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = length
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	res, err = s.transport.RoundTrip(r)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	t.Cleanup(func() { res.Body.Close() })
	if res.ProtoMajor != 2 {
		t.Fatalf("%s %s: went by %s", method, path, res.Proto)
	}
	return res, reused
}

// Guarantee 13: a refusal never waits for the request's body. Over HTTP/2 it ends
// only the stream, not the connection.
func TestARefusalOverHTTP2IsOfOneStreamAlone(t *testing.T) {
	reading, release := make(chan struct{}), make(chan struct{})
	address, asked := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "one")
		_ = http.NewResponseController(w).Flush()
		close(reading)
		<-release
		fmt.Fprintln(w, "two")
	})
	s := serveSecurely(t, func(c *Config) { c.Upstream = address })
	other, _ := s.send(t, "GET", "/stream", "", nil, 0)
	<-reading
	s.engineSwitch(t, `{"enabled":true}`)
	for _, test := range []struct {
		method, path, token string
		status              int
	}{
		{"POST", "/orders", "", 503},
		{"GET", "/orders", "", 503},
		{"POST", "/gate", "", 503},
		{"POST", "/gate/deny/403/orders", "", 403},
		{"POST", "/api/v1/maintenance/page", "", 503},
		{"POST", "/livez", "", 405},
		{"GET", "/livez", "", 200},
		{"PUT", "/api/v1/admin/settings/x", "", 401},
		{"PUT", "/api/v1/admin/settings/x", wrongToken, 401},
		{"PUT", "/api/v1/admin/settings/x", viewerToken, 403},
		{"POST", "/api/v1/admin/settings/x", adminToken, 405},
	} {
		for _, length := range []int64{-1, 1000, 10_000_000} {
			began := time.Now()
			res, reused := s.send(t, test.method, test.path, test.token, silent(t), length)
			if _, err := io.ReadAll(res.Body); err != nil || res.StatusCode != test.status || !reused {
				t.Errorf("%s %s, length %d: %d, by the same connection %t, %v; want %d", test.method, test.path, length, res.StatusCode, reused, err, test.status)
			}
			if took := time.Since(began); took >= bodyWait {
				t.Errorf("%s %s, length %d: answered after %v, so it waited for the body", test.method, test.path, length, took)
			}
		}
	}
	close(release)
	if text, err := io.ReadAll(other.Body); err != nil || string(text) != "one\ntwo\n" {
		t.Errorf("the stream that was let in before: %q, %v", text, err)
	}
	if paths := asked(); len(paths) != 1 {
		t.Errorf("the upstream was asked for %v", paths)
	}
}

// engineSwitch turns the switch over HTTP/2.
func (s *secure) engineSwitch(t *testing.T, body string) {
	t.Helper()
	res, _ := s.send(t, "PUT", "/api/v1/admin/maintenance", adminToken, strings.NewReader(body), int64(len(body)))
	if text, err := io.ReadAll(res.Body); err != nil || res.StatusCode >= 300 {
		t.Fatalf("%d %s, %v", res.StatusCode, text, err)
	}
}

// A caller that never begins TLS counts as a connection, and is cut off after the
// time limit for a request's header.
func TestAConnectionThatNeverBeginsTLSEnds(t *testing.T) {
	counted := make(chan int64, 2)
	s := serveSecurely(t, nil, func(s *secure) {
		if limit := s.server.ReadHeaderTimeout; limit <= 0 || limit > patience {
			t.Fatalf("it would have %v", limit)
		}
		s.server.ReadHeaderTimeout = 100 * time.Millisecond
		s.server.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew || state == http.StateClosed {
				counted <- s.metrics.publicConnections.Load()
			}
		}
	})
	for _, begin := range []string{"", "\x16\x03\x01"} { // nothing at all, or only part of a ClientHello
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.address, "https://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		fmt.Fprint(conn, begin)
		if _, err := io.ReadAll(conn); err != nil {
			t.Errorf("%q: %v", begin, err)
		}
		if first, last := <-counted, <-counted; first != 1 || last != 0 {
			t.Errorf("%q: %d connections are counted, and %d when it has ended", begin, first, last)
		}
	}
}
