package httpx

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

// wiretap is an upstream that records each request exactly as it was sent.
func wiretap(t *testing.T) (address *url.URL, requests <-chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	seen := make(chan string, 1)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				var wire bytes.Buffer
				r, err := http.ReadRequest(bufio.NewReader(io.TeeReader(conn, &wire)))
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, r.Body)
				seen <- wire.String()
				fmt.Fprint(conn, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
			}()
		}
	}()
	return &url.URL{Scheme: "http", Host: l.Addr().String()}, seen
}

// If a caller sends a token to the wrong place, it does not reach the upstream.
func TestNoTokenOfOursIsOnTheWireToTheUpstream(t *testing.T) {
	fromFile, line, err := NewToken("fay", "admin", time.Now().AddDate(1, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	ended, endedLine, err := NewToken("eve", "admin", longAgo)
	if err != nil {
		t.Fatal(err)
	}
	address, requests := wiretap(t)
	s := serve(t, func(c *Config) {
		c.Upstream = address
		c.Tokens = loadTokens(t, "ada:admin:"+adminToken, newFile(t, line+"\n"+endedLine))
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	for kind, token := range map[string]string{"of the environment": adminToken, "of the file": fromFile, "that has ended": ended} {
		glued := "X-a" + token + "b"
		if token == adminToken {
			glued = token // a token that we did not make is only found between separators
		}
		pair := base64.StdEncoding.EncodeToString([]byte("user:" + token))
		// head follows the request line; secret must not reach the upstream.
		for _, test := range []struct{ head, secret string }{
			{"Authorization: Bearer " + token, token},
			{"Authorization: Bearer " + token + "\r\nAuthorization: Bearer theirs", token},
			{"Authorization: Bearer theirs\r\nauthorization: Bearer " + token, token},
			{"Authorization: Bearer \"" + token + "\"", token},
			{"Authorization: Bearer '" + token + "'", token},
			{"Authorization: bearer " + token, token},
			{"Authorization: Token " + token, token},
			{"Authorization: " + token, token},
			{"Authorization:\tBearer\t" + token + "\t", token},
			{"Authorization: Bearer\r\n " + token, token}, // folded (RFC 9112, 5.2)
			{"Authorization: Bearer theirs,\r\n\tBearer " + token, token},
			{"Authorization: Basic " + pair, pair},
			{"Authorization: Bearer " + percentEncoded(token), percentEncoded(token)},
			{"Proxy-Authorization: Bearer " + token, token},
			{"Cookie: a=1; session=" + token + "; b=2", token},
			{"Cookie: a=1\r\nCookie: session=" + percentEncoded(token), percentEncoded(token)},
			{"X-Api-Key: " + token, token},
			{"X_Api_Key: " + token, token},
			{"Referer: https://shop.example.com/?token=" + token + "&x=1", token},
			{"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v1, bearer." + token, token},
			{"Connection: " + token, token},
			{"TE: " + token, token},
			{"X-Request-ID: " + token, token},
			{"Forwarded: for=192.0.2.1;host=" + token, token},
			{"Forwarded: for=192.0.2.1, for=192.0.2.2;by=\"" + token + "\"", token},
			{"X-Forwarded-For: " + token + ", 192.0.2.1", token},
			{"X-Forwarded-Host: " + token, token},
			{"X-Forwarded-Uri: /?token=" + token, token},
			{"X-Original-URL: /" + token, token},
			{"X-Forwarded-Client-Cert: Subject=\"" + token + "\"", token},
			{token + ": x", token},
			{"X-Api-Key: " + glued, token},
			{glued + ": x", token},
			{"Transfer-Encoding: chunked\r\nTrailer: X-Token, Authorization\r\n\r\n2\r\nhi\r\n0\r\nX-Token: " + token + "\r\nAuthorization: Bearer " + token, token},
			{"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Token: " + token, token}, // a trailer that is not announced
			{"Transfer-Encoding: chunked\r\nTrailer: " + token + "\r\n\r\n2\r\nhi\r\n0\r\n" + token + ": x", token},
			{"Transfer-Encoding: chunked\r\n\r\n2;t=" + token + "\r\nhi\r\n0", token}, // a chunk extension
		} {
			conn := s.dial(t)
			fmt.Fprintf(conn, "GET /orders HTTP/1.1\r\nHost: x\r\nX-Mark: kept\r\n%s\r\n\r\n", test.head)
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || res.StatusCode != http.StatusNoContent {
				t.Errorf("a token %s, %.200q: %v, %v", kind, test.head, res, err)
				continue
			}
			wire := <-requests
			if folded := strings.ToLower(wire); strings.Contains(folded, strings.ToLower(test.secret)) || strings.Contains(folded, strings.ToLower(token)) {
				t.Errorf("a token %s, %.200q: the upstream got\n%s", kind, test.head, wire)
			}
			if !strings.Contains(wire, "X-Mark: kept\r\n") {
				t.Errorf("a token %s, %.200q: the upstream did not get the rest:\n%s", kind, test.head, wire)
			}
			conn.Close()
		}
		// If removing the token would change the request's meaning, it is refused.
		for _, line := range []string{
			"GET /" + token + " HTTP/1.1\r\nHost: x", "GET /v1/" + token + "/x HTTP/1.1\r\nHost: x", "GET /?a=1&token=" + token + " HTTP/1.1\r\nHost: x",
			"GET /?token=" + percentEncoded(token) + " HTTP/1.1\r\nHost: x", "GET /" + percentEncoded(token) + " HTTP/1.1\r\nHost: x",
			"GET /?q=" + url.QueryEscape(pair) + " HTTP/1.1\r\nHost: x", "GET http://user:" + token + "@x/ HTTP/1.1\r\nHost: x",
			"GET http://" + token + "/ HTTP/1.1\r\nHost: x", "GET / HTTP/1.1\r\nHost: " + token, "GET //x/../" + token + " HTTP/1.1\r\nHost: x",
			"GET /x;" + token + " HTTP/1.1\r\nHost: x", token + " / HTTP/1.1\r\nHost: x",
			glued + " / HTTP/1.1\r\nHost: x", "GET /" + glued + " HTTP/1.1\r\nHost: x", "GET / HTTP/1.1\r\nHost: " + strings.ToLower(glued),
		} {
			conn := s.dial(t)
			fmt.Fprintf(conn, "%s\r\n\r\n", line)
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || res.StatusCode != http.StatusBadRequest {
				t.Errorf("a token %s, %.200q: %v, %v", kind, line, res, err)
			}
			conn.Close()
			select {
			case wire := <-requests:
				t.Errorf("a token %s, %.200q: the upstream got\n%s", kind, line, wire)
			default:
			}
		}
		// The token is not in the log either, if the request is for a path of our own.
		for _, line := range []string{
			"GET /api/v1/settings/" + token, "GET /api/v1/admin/settings/" + token, "GET //livez/../livez/" + token,
			"GET /gate/deny/403/" + token, token + " /livez", token + " /api/v1/admin/whoami",
		} {
			conn := s.dial(t)
			fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Request-ID: %s\r\n\r\n", line, token)
			if _, err := io.Copy(io.Discard, conn); err != nil {
				t.Error(err)
			}
		}
		for _, entry := range s.logs.All() {
			if text := fmt.Sprint(entry.Message, entry.ContextMap()); strings.Contains(text, token) {
				t.Errorf("a token %s is logged: %s", kind, text)
			}
		}
	}
}
