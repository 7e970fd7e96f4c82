package httpx

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// rawUpstream is an upstream whose answers are written byte by byte by the test.
func rawUpstream(t *testing.T, answer func(conn net.Conn, r *bufio.Reader)) *url.URL {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				for {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					if line == "\r\n" {
						break
					}
				}
				answer(conn, r)
			}()
		}
	}()
	return &url.URL{Scheme: "http", Host: l.Addr().String()}
}

// Many upstreams refuse an upload and close at once, so writing fails before the
// answer was read. (If an upstream does not announce that it closes, the next request
// may be sent on the same connection just then, and be lost.)
func TestAnUpstreamsEarlyAnswerIsPassedOn(t *testing.T) {
	s := serve(t, func(c *Config) {
		c.Upstream = rawUpstream(t, func(conn net.Conn, _ *bufio.Reader) {
			fmt.Fprint(conn, "HTTP/1.1 413 Request Entity Too Large\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbig\n")
		})
	})
	body := make([]byte, 4<<20)
	for i := range 50 {
		reader := io.Reader(bytes.NewReader(body))
		if i%2 == 1 {
			reader = struct{ io.Reader }{reader}
		}
		conn := s.dial(t)
		r, err := http.NewRequest("POST", s.address+"/upload", reader)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = r.Write(conn) }()
		res, err := http.ReadResponse(bufio.NewReader(conn), r)
		if err != nil || res.StatusCode != 413 {
			t.Fatalf("round %d: %v, %v; %v", i, res, err, s.logs.FilterMessage("failed").All())
		}
		if text, err := io.ReadAll(res.Body); err != nil || string(text) != "big\n" {
			t.Fatalf("round %d: %q, %v", i, text, err)
		}
		conn.Close()
	}
}

func TestAnUpstreamsEarlyAnswerDoesNotWaitForTheBody(t *testing.T) {
	address, _ := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("Connection", "close") // else net/http panics over the unread rest of the body
		w.WriteHeader(http.StatusUnauthorized)
		if r.URL.Path == "/chunked" {
			_ = http.NewResponseController(w).Flush()
		}
		fmt.Fprint(w, "no\n")
	})
	s := serve(t, func(c *Config) { c.Upstream = address })
	for _, path := range []string{"/", "/chunked"} {
		for _, head := range []string{"Content-Length: 1000", "Transfer-Encoding: chunked"} {
			conn := s.dial(t)
			began := time.Now()
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n", path, head)
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || res.StatusCode != 401 || !res.Close {
				t.Fatalf("%s, %s: %v, %v", path, head, res, err)
			}
			if text, err := io.ReadAll(res.Body); err != nil || string(text) != "no\n" {
				t.Errorf("%s, %s: %q, %v", path, head, text, err)
			}
			if took := time.Since(began); took >= uploading.patience {
				t.Errorf("%s, %s: it waited for the body, %v", path, head, took)
			}
		}
	}
}

func TestAnUpstreamThatChangesTheProtocolUnaskedIsRefused(t *testing.T) {
	for _, header := range []string{"", "Connection: Upgrade\r\nUpgrade: tunnel\r\n", "Connection: Upgrade\r\nUpgrade: websocket\r\n"} {
		s := serve(t, func(c *Config) {
			c.Upstream = rawUpstream(t, func(conn net.Conn, r *bufio.Reader) {
				fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\n%s\r\n", header)
				_, _ = io.Copy(conn, r)
			})
		})
		s.get(t, "/", "").wantProblem(t, 502, "upstream-unreachable")
	}
}

func TestASilentUpstreamHasATimeLimit(t *testing.T) {
	const idle = time.Minute
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		c := newUpstreamConn(near, idle)
		time.Sleep(time.Hour) // nobody waits for the upstream yet
		began := time.Now()
		_, err := c.Read(make([]byte, 1))
		if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || took != idle {
			t.Errorf("%v after %v", err, took)
		}
	})
	synctest.Test(t, func(t *testing.T) { // a long upload, during which the upstream is silent
		near, far := net.Pipe()
		c := newUpstreamConn(near, idle)
		go func() { _, _ = io.Copy(io.Discard, far) }()
		began := time.Now()
		var sending sync.WaitGroup
		sending.Go(func() {
			for range 10 {
				_, _ = c.Write([]byte("x"))
				time.Sleep(idle / 2)
			}
		})
		defer sending.Wait()
		_, err := c.Read(make([]byte, 1))
		if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || took < 5*idle || took > 6*idle {
			t.Errorf("%v after %v", err, took)
		}
		far.Close()
	})
}
