package httpx

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// tunnels is an upstream that accepts every protocol that it is offered, and records
// it.
func tunnels(t *testing.T, offers chan<- string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		offers <- strings.Join(r.Header["Upgrade"], "|") + r.Header.Get("Http2-Settings")
		if r.Header.Get("Upgrade") == "" {
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
		_ = rw.Flush()
	}
}

func TestOnlyWebsocketsChangeTheProtocol(t *testing.T) {
	offers := make(chan string, 1)
	address, _ := upstream(t, tunnels(t, offers))
	s := serve(t, func(c *Config) { c.Upstream = address })
	const connection = "Connection: Upgrade, HTTP2-Settings\r\n"
	for _, test := range []struct {
		request string
		status  int
		offered string
	}{
		{"GET / HTTP/1.1\r\nHost: x\r\n" + connection + "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", 200, ""},
		{"GET / HTTP/1.1\r\nHost: x\r\n" + connection + "Upgrade: H2C\r\n\r\n", 200, ""},
		{"GET / HTTP/1.1\r\nHost: x\r\n" + connection + "Upgrade: TLS/1.2\r\n\r\n", 200, ""},
		{"GET / HTTP/1.1\r\nHost: x\r\n" + connection + "Upgrade: websocket/13\r\n\r\n", 200, ""},
		{"POST / HTTP/1.1\r\nHost: x\r\n" + connection + "Upgrade: websocket\r\n\r\n", 200, ""},
		{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n" + connection + "Upgrade: websocket\r\n\r\nx", 200, ""},
		{"GET / HTTP/1.0\r\nHost: x\r\n" + connection + "Upgrade: websocket\r\n\r\n", 200, ""},
		{"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n", 200, ""}, // Connection does not name it
		{"GET / HTTP/1.1\r\nHost: x\r\n" + connection + "Upgrade: WebSocket\r\n\r\n", 101, "websocket"},
		{"GET / HTTP/1.1\r\nHost: x\r\n" + connection + "Upgrade: h2c, websocket\r\n\r\n", 101, "websocket"},
		{"GET / HTTP/1.1\r\nHost: x\r\n" + connection + "Upgrade: h2c\r\nUpgrade: websocket\r\n\r\n", 101, "websocket"},
		{"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 405, "nothing"},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 405, "nothing"},
		{"GET tunnel:x HTTP/1.1\r\nHost: x\r\n\r\n", 405, "nothing"},
	} {
		conn := s.dial(t)
		fmt.Fprint(conn, test.request)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || res.StatusCode != test.status {
			t.Errorf("%q: %v, %v, want %d", test.request, res, err, test.status)
			continue
		}
		offered := "nothing"
		select {
		case offered = <-offers:
		default:
		}
		if offered != test.offered {
			t.Errorf("%q: the upstream was offered %q, want %q", test.request, offered, test.offered)
		}
		conn.Close()
	}
}

func TestInReadOnlyModeWhatMayWriteIsRefused(t *testing.T) {
	address, asked := upstream(t, nil)
	s := serve(t, func(c *Config) { c.Upstream = address })
	s.put(t, "maintenance", `{"enabled":true,"read_only":true}`)
	for header, want := range map[string]int{
		"Connection: Upgrade\r\nUpgrade: websocket": 503,
		"connection: upgrade\r\nupgrade: WEBSOCKET": 503,
		"Upgrade: h2c , websocket":                  503,
		"Connection: Upgrade\r\nUpgrade: h2c":       200,
		"X-HTTP-Method-Override: DELETE":            503,
		"x-http-method-override: patch":             503,
		"X_HTTP_METHOD_OVERRIDE: PUT":               503,
		"X-HTTP-Method: MERGE":                      503,
		"X-Method-Override: POST":                   503,
		"X-HTTP-MethodOverride: PUT":                503,
		"X.Http.Method_Override: PUT":               503,
		"X-Override-Method: PUT":                    503,
		"X-HTTP-Verb-Override: PUT":                 503,
		"X-REST-Method: PUT":                        503,
		"HttpMethod: PUT":                           503,
		"X-HTTP-Method-Override: GET":               200,
		"X-Payment-Method: card":                    200,
		"X-HTTP-Methods: DELETE":                    200,
	} {
		conn := s.dial(t)
		fmt.Fprintf(conn, "GET /orders HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n", header)
		if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || res.StatusCode != want {
			t.Errorf("%q: %v, %v, want %d", header, res, err, want)
		}
		conn.Close()
	}
	for query, want := range map[string]int{
		"?_method=DELETE": 503, "?q=1&_method=put": 503, "?q=1;_method=put": 503, "?%5Fmethod=DELETE": 503, "?_METHOD=DELETE": 503,
		"?.method=DELETE": 503, "?+_method=DELETE": 503, "?%20_method=DELETE": 503, "?_method%00=DELETE": 503, "?_method%00x=DELETE": 503,
		"?_method[]=DELETE": 503, "?_method[x=DELETE": 503, "?[_method]=DELETE": 503, "?[method=DELETE": 503, "?%5Fm%65thod%5B%5D=DELETE": 503, "?_method=%44ELETE": 503, "?%5Fmethod[%zz=DELETE": 503, "?%5Fmethod=%zz": 503,
		"?X-HTTP-Method-Override=PUT": 503, "?x_http_method_override[]=PUT": 503, "?$httpMethod=DELETE": 503, "?_HttpMethod=DELETE": 503, "?httpMethod=DELETE": 503,
		"?method=card": 200, "?interest_method=compound": 200, "?http_verbose=1": 200, "?+method=x": 200, "?_method=+get": 200, "?_methods=x": 200,
		"?_method=GET": 200, "?payment_method=DELETE": 200, "?q=_method=DELETE": 200, "?_method_=DELETE": 200, "?%zz&_methode=1": 200,
	} {
		if a := s.get(t, "/orders"+query, ""); a.status != want {
			t.Errorf("%s: %d, want %d", query, a.status, want)
		}
	}
	if n, want := len(asked()), 15; n != want {
		t.Errorf("the upstream was asked %d times, want %d: %v", n, want, asked())
	}
}

func TestTheFormOfARequestDoesNotGetItPastTheGate(t *testing.T) {
	address, asked := upstream(t, nil)
	s := serve(t, func(c *Config) { c.Upstream = address })
	s.put(t, "maintenance", `{"enabled":true}`)
	for _, line := range []string{
		"GET http://host HTTP/1.1", "GET http://host/orders HTTP/1.1", "GET http://host?q HTTP/1.1", "GET http://u:p@host/ HTTP/1.1",
		"GET / HTTP/1.0", "OPTIONS * HTTP/1.1", "CONNECT host:443 HTTP/1.1", "GET tunnel:orders HTTP/1.1", "PRI * HTTP/2.0", "get / HTTP/1.1", "GET //host/orders HTTP/1.1",
	} {
		conn := s.dial(t)
		fmt.Fprintf(conn, "%s\r\nHost: x\r\n\r\n", line)
		if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
			t.Errorf("%q: %v, %v", line, res, err)
		}
		conn.Close()
	}
	if paths := asked(); paths != nil {
		t.Errorf("the upstream was asked for %v", paths)
	}
	// With the gate open, they reach the platform.
	s.put(t, "maintenance", `{"enabled":false}`)
	for _, line := range []string{"GET http://host HTTP/1.1", "GET http://host?q HTTP/1.1", "OPTIONS * HTTP/1.1"} {
		conn := s.dial(t)
		fmt.Fprintf(conn, "%s\r\nHost: x\r\n\r\n", line)
		if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || res.StatusCode != 200 {
			t.Errorf("%q: %v, %v", line, res, err)
		}
		conn.Close()
	}
}
