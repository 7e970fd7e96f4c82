package httpx

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTrailersOfARequestPass(t *testing.T) {
	type got struct {
		body      string
		announced int
		trailer   http.Header
	}
	requests := make(chan got, 1)
	address, _ := upstream(t, func(_ http.ResponseWriter, r *http.Request) {
		announced := len(r.Trailer)
		body, err := io.ReadAll(r.Body)
		requests <- got{fmt.Sprint(string(body), err), announced, r.Trailer}
	})
	s := serve(t, func(c *Config) { c.Upstream = address })
	chunked := func(head, body, trailers string) string {
		return head + "Transfer-Encoding: chunked\r\n\r\n" + body + "0\r\n" + trailers + "\r\n"
	}
	sum := http.Header{"X-Sum": {"1", "2"}, "X-More": {"3"}}
	for name, test := range map[string]struct {
		rest string
		want got
	}{
		"announced":               {chunked("Trailer: X-Sum, X-More\r\n", "2\r\nhi\r\n", "X-Sum: 1\r\nX-Sum: 2\r\nX-More: 3\r\n"), got{"hi<nil>", 2, sum}},
		"not announced":           {chunked("", "2\r\nhi\r\n", "X-Sum: 1\r\nX-Sum: 2\r\nX-More: 3\r\n"), got{"hi<nil>", 0, sum}},
		"after an empty body":     {chunked("Trailer: X-Sum\r\n", "", "X-Sum: 1\r\n"), got{"<nil>", 1, http.Header{"X-Sum": {"1"}}}},
		"announced and left out":  {chunked("Trailer: X-Sum\r\n", "2\r\nhi\r\n", ""), got{"hi<nil>", 1, http.Header{"X-Sum": nil}}},
		"none":                    {chunked("", "2\r\nhi\r\n", ""), got{"hi<nil>", 0, nil}},
		"te: trailers, as gRPC's": {chunked("TE: trailers\r\n", "2\r\nhi\r\n", ""), got{"hi<nil>", 0, nil}},
		"what is judged before the body": {
			chunked("Trailer: X-Forwarded-For, X-Sum\r\n", "2\r\nhi\r\n", "X-Forwarded-For: 192.0.2.1\r\nX_Real_IP: 192.0.2.1\r\nX-HTTP-Method-Override: DELETE\r\n"+
				"Authorization: x\r\nHost: x\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\nX-Key: "+adminToken+"\r\nX-Sum: 1\r\n"),
			got{"hi<nil>", 1, http.Header{"X-Sum": {"1"}}},
		},
	} {
		for _, method := range []string{"POST", "GET", "DELETE"} { // the transport looks at a GET's body before it sends it
			conn := s.dial(t)
			fmt.Fprintf(conn, "%s / HTTP/1.1\r\nHost: x\r\n%s", method, test.rest)
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || res.StatusCode != 200 {
				t.Errorf("%s, %s: %v, %v", method, name, res, err)
				conn.Close()
				continue
			}
			if diff := cmp.Diff(test.want, <-requests, cmp.AllowUnexported(got{})); diff != "" {
				t.Errorf("%s, %s (-want +got):\n%s", method, name, diff)
			}
			conn.Close()
		}
	}
}

func TestTrailersOverHTTP2Pass(t *testing.T) {
	trailer := make(chan string, 1)
	address, _ := upstream(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		trailer <- string(body) + r.Trailer.Get("X-Sum")
	})
	s := serveSecurely(t, func(c *Config) { c.Upstream = address })
	for _, length := range []int64{-1, 2} {
		r, err := http.NewRequest("POST", s.address, strings.NewReader("hi"))
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = length
		r.Trailer = http.Header{"X-Sum": {"7"}}
		res, err := s.transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if got := <-trailer; got != "hi7" {
			t.Errorf("length %d: %d, the upstream got %q", length, res.StatusCode, got)
		}
	}
}
