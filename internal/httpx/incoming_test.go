package httpx

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// dial opens a raw connection to the service.
func (s *service) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.address, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// Guarantee 13: a refusal never waits for the request's body. Here the body never
// arrives in full, and the answer comes before any deadline for a body.
func TestEveryAnswerOfOursComesBeforeTheBody(t *testing.T) {
	address, asked := upstream(t, nil)
	s := serve(t, func(c *Config) { c.Upstream = address })
	s.put(t, "maintenance", `{"enabled":true}`)
	for _, test := range []struct {
		request string
		token   string
		status  int
	}{
		{"POST /orders", "", 503},
		{"GET /orders", "", 503},
		{"PUT //livez", "", 503},
		{"POST /gate", "", 503},
		{"POST /gate/deny/403/orders", "", 403},
		{"POST /gate/nothing", "", 404},
		{"POST /api/v1/maintenance/page", "", 503},
		{"GET /livez", "", 200},
		{"POST /livez", "", 405},
		{"GET /readyz", "", 200},
		{"GET /metrics", "", 200},
		{"GET /api/v1/maintenance", "", 200},
		{"GET /api/v1/settings", "", 200},
		{"PATCH /api/v1/settings/maintenance_mode", "", 405},
		{"PUT /api/v1/admin/maintenance", "", 401},
		{"PUT /api/v1/admin/maintenance", wrongToken, 401},
		{"PUT /api/v1/admin/maintenance", viewerToken, 403},
		{"POST /api/v1/admin/maintenance", adminToken, 405},
		{"GET /api/v1/admin/fleet", adminToken, 200},
		{"GET /api/v1/admin/nothing", adminToken, 404},
		{"PUT /api/v1/admin/maintenance", adminToken + "\r\nContent-Type: text/plain", 415},
		{"PUT /api/v1/admin/settings/x", adminToken + "\r\nContent-Encoding: gzip", 415},
		{"DELETE /api/v1/admin/settings/x", adminToken + "\r\nIf-Match: x", 400},
	} {
		for _, body := range []string{
			"Content-Length: 1000\r\n\r\n", "Content-Length: 10000000\r\n\r\nabc", "Content-Length: 7\r\nExpect: 100-continue\r\n\r\n",
			"Transfer-Encoding: chunked\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n5\r\nhe",
		} {
			began := time.Now()
			conn := s.dial(t)
			fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\n", test.request)
			if test.token != "" {
				fmt.Fprintf(conn, "Authorization: Bearer %s\r\n", test.token)
			}
			fmt.Fprint(conn, body)
			method, _, _ := strings.Cut(test.request, " ")
			answers := bufio.NewReader(conn)
			res, err := http.ReadResponse(answers, &http.Request{Method: method})
			if err != nil {
				t.Errorf("%s, %q: %v", test.request, body, err)
				continue
			}
			if _, err := io.ReadAll(res.Body); err != nil || res.StatusCode != test.status || !res.Close {
				t.Errorf("%s, %q: %d, closing %t, %v; want %d", test.request, body, res.StatusCode, res.Close, err, test.status)
			}
			if took := time.Since(began); took >= bodyWait {
				t.Errorf("%s, %q: answered after %v, so it waited for the body", test.request, body, took)
			}
			// Nothing follows the answer, and the connection closes properly.
			if rest, err := io.ReadAll(answers); err != nil || len(rest) != 0 {
				t.Errorf("%s, %q: after the answer: %q, %v", test.request, body, rest, err)
			}
			conn.Close()
		}
	}
	if paths := asked(); paths != nil {
		t.Errorf("the upstream was asked for %v", paths)
	}
}

func TestABodyThatIsTooLargeIsRefusedBeforeItComes(t *testing.T) {
	s := serve(t, nil)
	for _, path := range []string{"maintenance", "settings/x"} {
		began := time.Now()
		conn := s.dial(t)
		fmt.Fprintf(conn, "PUT /api/v1/admin/%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", path, adminToken, maxBody+1)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || res.StatusCode != http.StatusRequestEntityTooLarge || time.Since(began) >= bodyWait {
			t.Errorf("%s: %v, %v, after %v", path, res, err, time.Since(began))
		}
	}
}

// A malformed body is reported as the caller's fault, not as the platform's.
func TestABodyWithMalformedChunksIs400(t *testing.T) {
	address, _ := upstream(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	s := serve(t, func(c *Config) { c.Upstream = address })
	for _, chunks := range []string{"ZZZZ\r\nhello\r\n", "5\r\nhelloworld\r\n", "ffffffffffffffffff\r\n", "-1\r\n", "5;\x00\nhello"} {
		conn := s.dial(t)
		fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%s0\r\n\r\n", chunks)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("%q: %v", chunks, err)
			continue
		}
		text, _ := io.ReadAll(res.Body)
		answer{res.StatusCode, res.Header, string(text)}.wantProblem(t, 400, "malformed-body")
	}
}

// A caller that sends its whole request before it reads the answer gets the answer,
// not a broken connection.
func TestACallerThatSendsOnStillGetsItsRefusal(t *testing.T) {
	s := serve(t, nil)
	s.put(t, "maintenance", `{"enabled":true}`)
	body := make([]byte, 20<<20)
	for range 5 {
		conn := s.dial(t)
		fmt.Fprintf(conn, "POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", len(body))
		if n, err := conn.Write(body); err != nil {
			t.Fatalf("the body broke off after %d bytes: %v", n, err)
		}
		if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || res.StatusCode != 503 {
			t.Fatalf("%v, %v", res, err)
		}
	}
}

// echoing sends each piece of the body back as soon as it has read it.
func echoing(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).EnableFullDuplex()
	if r.URL.Path == "/known" {
		w.Header().Set("Content-Length", fmt.Sprint(r.ContentLength))
	}
	_ = http.NewResponseController(w).Flush()
	buffer := make([]byte, 10_000)
	for {
		n, err := r.Body.Read(buffer)
		if _, failed := w.Write(buffer[:n]); failed != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
		if err != nil {
			return
		}
	}
}

// Guarantee 13: a request is passed on whole.
func TestABodyPassesWholeWhileItIsAnswered(t *testing.T) {
	address, _ := upstream(t, echoing)
	s := serve(t, func(c *Config) { c.Upstream = address })
	for i := range 40 {
		sent := make([]byte, 1<<20+i*4099)
		_, _ = rand.Read(sent)
		path, body := "/", io.Reader(struct{ io.Reader }{bytes.NewReader(sent)}) // chunked
		if i%2 == 1 {
			path, body = "/known", bytes.NewReader(sent)
		}
		res, err := http.Post(s.address+path, "application/octet-stream", body)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("round %d, %s: %d of %d bytes came back, equal %t, %v", i, path, len(got), len(sent), bytes.Equal(got, sent), err)
		}
	}
}

// Request and answer flow at the same time: each piece is sent only after the one
// before has come back.
func TestBothWaysGoOnAtOnce(t *testing.T) {
	address, _ := upstream(t, echoing)
	s := serve(t, func(c *Config) { c.Upstream = address })
	for _, path := range []string{"/", "/known"} {
		reader, writer := io.Pipe()
		r, err := http.NewRequestWithContext(t.Context(), "POST", s.address+path, reader)
		if err != nil {
			t.Fatal(err)
		}
		const pieces, piece = 20, "a piece of it\n"
		if path == "/known" {
			r.ContentLength = pieces * int64(len(piece))
		}
		go fmt.Fprint(writer, piece)
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(res.Body)
		for i := range pieces {
			if line, err := lines.ReadString('\n'); err != nil || line != piece {
				t.Fatalf("%s, piece %d: %q, %v", path, i, line, err)
			}
			if i < pieces-1 {
				fmt.Fprint(writer, piece)
			}
		}
		writer.Close()
		if rest, err := io.ReadAll(lines); err != nil || len(rest) != 0 {
			t.Errorf("%s: at the end %q, %v", path, rest, err)
		}
		res.Body.Close()
	}
}

func TestABodyThatBreaksOffIsNotTakenForWhole(t *testing.T) {
	ends := make(chan error, 1)
	address, _ := upstream(t, func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		ends <- err
	})
	s := serve(t, func(c *Config) { c.Upstream = address })
	for _, head := range []string{"Content-Length: 1000", "Transfer-Encoding: chunked"} {
		conn := s.dial(t)
		fmt.Fprintf(conn, "POST /broken HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n5\r\nhello\r\n", head)
		conn.Close()
		if err := <-ends; err == nil {
			t.Errorf("%s: the upstream takes it for whole", head)
		}
	}
	s.logged(t, "request", func(f map[string]any) bool { return f["path"] == "/broken" && f["status"] == int64(statusCallerLeft) })
	if s.logs.FilterMessage("failed").Len() != 0 {
		t.Error("it is logged as a failure of the platform")
	}
}

// rig makes a body that is read from a pipe, for tests in fake time.
func rig() (*incoming, net.Conn) {
	near, far := net.Pipe()
	w := &pipeWriter{httptest.NewRecorder(), near}
	b := &incoming{body: near, control: http.NewResponseController(w)}
	b.passOn()
	return b, far
}

type pipeWriter struct {
	http.ResponseWriter
	conn net.Conn
}

func (p *pipeWriter) SetReadDeadline(at time.Time) error { return p.conn.SetReadDeadline(at) }

func TestALongUploadLivesAndATrickleDoesNot(t *testing.T) {
	send := func(far net.Conn, piece int, pause time.Duration) {
		for {
			time.Sleep(pause)
			if _, err := far.Write(make([]byte, piece)); err != nil {
				return
			}
		}
	}
	synctest.Test(t, func(t *testing.T) {
		body, far := rig()
		var sending sync.WaitGroup
		sending.Go(func() { send(far, 1, time.Second) })
		defer sending.Wait()
		defer far.Close()
		began := time.Now()
		_, err := io.Copy(io.Discard, body)
		if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || !body.slow.Load() || took < uploading.patience || took > 2*uploading.patience {
			t.Errorf("a byte a second: %v after %v", err, took)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		body, far := rig()
		var sending sync.WaitGroup
		sending.Go(func() { send(far, 8<<10, 5*time.Second) })
		defer sending.Wait()
		defer far.Close()
		began := time.Now()
		for time.Since(began) < time.Hour {
			if _, err := body.Read(make([]byte, 4<<10)); err != nil {
				t.Fatalf("an upload that goes on ended after %v: %v", time.Since(began), err)
			}
		}
	})
}

// A transport may still be reading when the answer is over. Its Read must then end.
func TestTheEndOfAnAnswerEndsTheReadingOfItsBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body, far := rig()
		defer far.Close()
		ended := make(chan error)
		go func() {
			_, err := io.Copy(io.Discard, body)
			ended <- err
		}()
		synctest.Wait()
		began := time.Now()
		body.end()
		if err := <-ended; err == nil || body.slow.Load() || time.Since(began) != 0 {
			t.Errorf("ended with %v after %v, slow is %t", err, time.Since(began), body.slow.Load())
		}
		if _, err := body.Read(make([]byte, 1)); !errors.Is(err, http.ErrBodyReadAfterClose) {
			t.Errorf("a read afterwards: %v", err)
		}
	})
}
