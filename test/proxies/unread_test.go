package proxies

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// What is left unread of a request's body must not become the next request on the
// visitor's connection: it would be one that somebody else wrote.
func TestNothingOfABodyIsTakenForARequest(t *testing.T) {
	t.Parallel()
	for _, f := range fronts {
		if f.http2 {
			continue // whose frames say where a body ends
		}
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			f.program.path(t) // skips the test if there is none
			fleet := newFleet(t, f.podsPassOn)
			v := newVisitor(t, f.program.start(t, fleet.addresses, f.files...), false)

			whole := func(when string, paths ...string) {
				t.Helper()
				for _, path := range paths {
					for _, copies := range []int{100, 9_000, 90_000} {
						body := strings.Repeat("GET /smuggled HTTP/1.1\r\nHost: platform.test\r\n\r\n", copies)
						v.wantOneAnswer(t, when, path, fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body))
						v.wantOneAnswer(t, when, path, fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body))
					}
				}
				if last := fleet.platform.last.Load(); last != nil && last.URL.Path == "/smuggled" {
					t.Errorf("%s: the platform was asked for a part of a body", when)
				}
			}
			// The pods' own answers, and an early one of the platform.
			whole("open", "/forbidden", "/livez", "/gate/x", "/gate/deny/403", "/api/v1/admin/x", "/api/v1/maintenance/page")
			fleet.maintain(t, closed)
			whole("closed", "/forbidden", "/gate", "/gate/deny/401")
			for _, p := range fleet.pods {
				p.Kill()
			}
			whole("no pod is there", "/orders")
		})
	}
}

// wantOneAnswer sends a request whose rest, from the length of its body on, is
// itself many requests, and one more after it. It fails if more is answered than
// these two. A proxy that closes the connection may reset it before the answer to a
// long body was read.
func (v *visitor) wantOneAnswer(t *testing.T, when, path, rest string) {
	t.Helper()
	conn, err := net.Dial("tcp", v.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	var sending sync.WaitGroup
	defer sending.Wait()
	defer conn.Close()
	sending.Go(func() { // until the proxy closes the connection
		_, _ = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: platform.test\r\n%s"+
			"GET /last HTTP/1.1\r\nHost: platform.test\r\nConnection: close\r\n\r\n", path, rest)
	})
	var answers []string
	for r := bufio.NewReader(conn); len(answers) < 5; {
		response, err := http.ReadResponse(r, nil)
		if err != nil {
			break // the connection is closed
		}
		answers = append(answers, response.Status)
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			break
		}
	}
	if len(answers) > 2 {
		t.Errorf("%s, POST %s with %d bytes, %.30q…: answered with %q", when, path, len(rest), rest, answers)
	}
	if len(answers) == 0 {
		t.Errorf("%s, POST %s with %d bytes, %.30q…: not answered", when, path, len(rest), rest)
	}
}
