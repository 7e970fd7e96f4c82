package httpx

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"platform-settings/internal/settings"
	"platform-settings/test/selfsigned"
)

// pipes are connections in memory, so that they work in fake time.
type pipes struct {
	conns  chan net.Conn
	slow   time.Duration // the pause before each connection is made
	closed context.Context
	close  context.CancelFunc
}

func newPipes() *pipes {
	p := &pipes{conns: make(chan net.Conn)}
	p.closed, p.close = context.WithCancel(context.Background())
	return p
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed.Done():
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error { p.close(); return nil }

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	time.Sleep(p.slow)
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		return near, nil
	case <-p.closed.Done():
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// inNoTime serves HTTP/2 or HTTP/1.1 in front of an upstream that may be slow to
// connect to. Everything except the engine runs in fake time, where hours pass at
// once.
func inNoTime(t *testing.T, major int, slow time.Duration, engine *settings.Engine, platform http.HandlerFunc, test func(t *testing.T, send func(method, path string, body io.Reader) (*http.Response, error))) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(time.Hour) // gives everything that was started the time to end
		behind := newPipes()
		behind.slow = slow
		upstream := &http.Server{Handler: platform}
		go func() { _ = upstream.Serve(behind) }()
		defer upstream.Close()

		cert, key := selfsigned.Pair(t, time.Now().AddDate(1, 0, 0))
		certificate, err := LoadCertificate(newFile(t, string(cert)), newFile(t, string(key)), nil)
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(cert)
		normal := http.DefaultTransport
		http.DefaultTransport = &http.Transport{DialContext: behind.DialContext} // the transport to the upstream is cloned from it
		s, err := New(Config{
			Engine: engine, Tokens: testTokens(t), Certificate: certificate, Registry: prometheus.NewRegistry(),
			Upstream: &url.URL{Scheme: "http", Host: "upstream"},
		})
		if err != nil {
			t.Fatal(err)
		}
		if major == 1 {
			s.certificate = nil
		}
		http.DefaultTransport = normal
		front := newPipes()
		server := s.httpServer(s.public)
		scheme := "https"
		if major == 1 {
			scheme = "http"
			go func() { _ = server.Serve(front) }()
		} else {
			go func() { _ = server.ServeTLS(front, "", "") }()
		}
		defer server.Close()

		transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots}, DialContext: front.DialContext}
		defer transport.CloseIdleConnections()
		test(t, func(method, path string, body io.Reader) (*http.Response, error) {
			r, err := http.NewRequestWithContext(t.Context(), method, scheme+"://127.0.0.1"+path, body)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+adminToken)
			res, err := transport.RoundTrip(r)
			if err == nil && res.ProtoMajor != major {
				t.Fatalf("%s %s: went by %s", method, path, res.Proto)
			}
			return res, err
		})
	})
}

// dripping is a body that arrives in pieces, with a pause before each, until while is over.
func dripping(piece int, pause, while time.Duration) io.Reader {
	return &drops{bytes.Repeat([]byte(" "), piece), pause, time.Now().Add(while)}
}

type drops struct {
	piece []byte
	pause time.Duration
	end   time.Time
}

func (d *drops) Read(p []byte) (int, error) {
	if time.Sleep(d.pause); time.Now().After(d.end) {
		return 0, io.EOF
	}
	return copy(p, d.piece), nil
}

func TestOverHTTP2SlowCallersHaveTheirLimitsAndQuietStreamsLive(t *testing.T) {
	engine := newEngine(t)
	runEngine(t, engine)
	took := func(began time.Time, least, most time.Duration) error {
		if d := time.Since(began); d < least || d > most {
			return fmt.Errorf("it took %v, want %v to %v", d, least, most)
		}
		return nil
	}
	inNoTime(t, 2, 0, engine, nil, func(t *testing.T, send func(string, string, io.Reader) (*http.Response, error)) {
		// A caller cannot extend the time limit of our own routes.
		began := time.Now()
		res, err := send("PUT", "/api/v1/admin/settings/x", dripping(1, time.Second, time.Hour))
		if err != nil || res.StatusCode != http.StatusRequestTimeout {
			t.Errorf("one of our own routes: %v, %v", res, err)
		}
		if err := took(began, bodyWait, bodyWait+time.Second); err != nil {
			t.Errorf("one of our own routes: %v", err)
		}
		if res, err := send("GET", "/livez", nil); err != nil || res.StatusCode != 200 {
			t.Errorf("the connection afterwards: %v, %v", res, err)
		}
	})
	inNoTime(t, 2, 0, engine, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }, func(t *testing.T, send func(string, string, io.Reader) (*http.Response, error)) {
		began := time.Now()
		res, err := send("POST", "/trickle", dripping(1, time.Second, time.Hour))
		if err != nil || res.StatusCode != http.StatusRequestTimeout {
			t.Errorf("a trickle: %v, %v", res, err)
		}
		if err := took(began, uploading.patience, 2*uploading.patience); err != nil {
			t.Errorf("a trickle: %v", err)
		}
		began = time.Now()
		res, err = send("POST", "/long", dripping(8<<10, 5*time.Second, time.Hour))
		if err != nil || res.StatusCode != 200 {
			t.Errorf("an upload that goes on: %v, %v", res, err)
		}
		if err := took(began, time.Hour, time.Hour+time.Minute); err != nil {
			t.Errorf("an upload that goes on: %v", err)
		}
	})
	pausing := func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(5 * time.Minute)
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, err)
	}
	inNoTime(t, 2, 0, engine, pausing, func(t *testing.T, send func(string, string, io.Reader) (*http.Response, error)) {
		res, err := send("POST", "/upload", bytes.NewReader(make([]byte, 3<<20)))
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(res.Body); err != nil || string(text) != "3145728 <nil>" {
			t.Errorf("an upload to an upstream that pauses: %d %q, %v", res.StatusCode, text, err)
		}
	})
	inNoTime(t, 2, 2*strayTimeout, engine, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }, func(t *testing.T, send func(string, string, io.Reader) (*http.Response, error)) {
		if res, err := send("POST", "/upload", dripping(8<<10, time.Second, 3*strayTimeout)); err != nil || res.StatusCode != 200 {
			t.Errorf("an upload to an upstream that is slow to connect to: %v, %v", res, err)
		}
	})
	quiet := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		for range 3 {
			fmt.Fprintln(w, "line")
			_ = http.NewResponseController(w).Flush()
			select {
			case <-time.After(upstreamIdle - time.Second):
			case <-r.Context().Done():
				return
			}
		}
		if r.URL.Path == "/too" {
			select {
			case <-time.After(2 * time.Second):
			case <-r.Context().Done():
			}
		}
	}
	for _, major := range []int{1, 2} {
		inNoTime(t, major, 0, engine, quiet, func(t *testing.T, send func(string, string, io.Reader) (*http.Response, error)) {
			for _, body := range []io.Reader{nil, strings.NewReader("all of it")} {
				res, err := send("POST", "/stream", body)
				if err != nil {
					t.Fatal(err)
				}
				if text, err := io.ReadAll(res.Body); err != nil || strings.Count(string(text), "line\n") != 3 {
					t.Errorf("a quiet stream: %q, %v", text, err)
				}
			}
			res, err := send("GET", "/too", nil)
			if err != nil {
				t.Fatal(err)
			}
			if text, err := io.ReadAll(res.Body); err == nil || strings.Count(string(text), "line\n") != 3 {
				t.Errorf("a stream that is too quiet: %q, %v", text, err)
			}
		})
	}
	flood := func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}
	inNoTime(t, 2, 0, engine, flood, func(t *testing.T, send func(string, string, io.Reader) (*http.Response, error)) {
		began := time.Now()
		res, err := send("GET", "/flood", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		time.Sleep(2 * downloading.patience)
		if res, err := send("GET", "/livez", nil); err != nil || res.StatusCode != 200 {
			t.Errorf("the connection beside a reader that has stopped: %v, %v", res, err)
		}
		_, err = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<20))
		if err == nil {
			t.Errorf("a reader that stopped: %v", err)
		}
		if err := took(began, 2*downloading.patience, 2*downloading.patience+time.Second); err != nil {
			t.Errorf("a reader that stopped was not ended meanwhile: %v", err)
		}
	})
}
