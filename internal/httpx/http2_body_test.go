package httpx

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
)

// Guarantee 13, over HTTP/2: a request is passed on whole, no matter when the
// upstream answers. The transport may still read a body after its stream has ended.
func TestUploadsOverHTTP2PassWholeWheneverTheyAreAnswered(t *testing.T) {
	const size = 3 << 20
	address, _ := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/early":
			_ = http.NewResponseController(w).EnableFullDuplex()
			w.Header().Set("Connection", "close") // else net/http panics over the unread rest of the body
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, "no\n")
		case "/late":
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			_, _ = w.Write(body)
		default:
			echoing(w, r)
		}
	})
	s := serveSecurely(t, func(c *Config) { c.Upstream = address })
	sent := make([]byte, size)
	_, _ = rand.Read(sent)
	for _, path := range []string{"/late", "/echo", "/known"} {
		for _, length := range []int64{-1, size} {
			if path == "/known" && length < 0 {
				continue
			}
			res, _ := s.send(t, "POST", path, "", bytes.NewReader(sent), length)
			if got, err := io.ReadAll(res.Body); err != nil || !bytes.Equal(got, sent) {
				t.Errorf("%s, length %d: %d bytes came back, equal %t, %v", path, length, len(got), bytes.Equal(got, sent), err)
			}
		}
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 10 {
				length := []int64{-1, size}[i%2]
				res, reused := s.send(t, "POST", "/early", "", bytes.NewReader(sent), length)
				if text, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 401 || string(text) != "no\n" || !reused {
					t.Errorf("early, length %d: %d %q, by the same connection %t, %v", length, res.StatusCode, text, reused, err)
				}
			}
		})
	}
	wg.Wait()
}

// A transport may read once more after the answer, whether or not the body is
// whole. By then its stream has ended, and the connection may serve the next request.
func TestABodyIsNotTouchedOnceItsAnswerIsOver(t *testing.T) {
	s := serveSecurely(t, nil)
	bodies := make(chan io.Reader, 1)
	s.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		withBody(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			body := r.Body.(*incoming)
			body.passOn()
			if r.URL.Path == "/whole" {
				_, _ = io.Copy(io.Discard, body)
			}
			bodies <- body
		}), w, r)
	})
	for _, path := range []string{"/whole", "/part"} {
		for _, length := range []int64{-1, 10} {
			var sent io.Reader = bytes.NewReader(make([]byte, 10))
			if path == "/part" {
				sent = silent(t)
			}
			res, _ := s.send(t, "POST", path, "", sent, length)
			_, _ = io.Copy(io.Discard, res.Body)
			if n, err := (<-bodies).Read(make([]byte, 1)); n != 0 || err == nil {
				t.Errorf("%s, length %d: a read afterwards: %d, %v", path, length, n, err)
			}
		}
	}
}
