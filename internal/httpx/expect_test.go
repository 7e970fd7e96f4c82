package httpx

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// net/http refuses an unknown expectation before any of our code runs, and then
// waits for the body. That wait must end, too.
func TestAnExpectationThatNobodyKnowsHoldsNoConnection(t *testing.T) {
	engine := newEngine(t)
	runEngine(t, engine)
	for _, head := range []string{"Content-Length: 1000", "Transfer-Encoding: chunked"} {
		synctest.Test(t, func(t *testing.T) {
			defer time.Sleep(time.Hour) // gives everything that was started the time to end
			s, err := New(Config{Engine: engine, Registry: prometheus.NewRegistry()})
			if err != nil {
				t.Fatal(err)
			}
			l := newPipes()
			server := s.httpServer(s.public)
			go func() { _ = server.Serve(l) }()
			defer server.Close()
			conn, err := l.DialContext(t.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			began := time.Now()
			fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nExpect: foo\r\n%s\r\n\r\n", head)
			answers := bufio.NewReader(conn)
			res, err := http.ReadResponse(answers, nil)
			if err != nil || res.StatusCode != http.StatusExpectationFailed {
				t.Fatalf("%v, %v", res, err)
			}
			_, err = io.Copy(io.Discard, answers)
			if took := time.Since(began); err != nil || took > strayTimeout+time.Second {
				t.Errorf("%s: the connection ends after %v, %v", head, took, err)
			}
		})
	}
}
