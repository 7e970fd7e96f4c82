package proxies

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// visitor sends requests to a proxy.
type visitor struct {
	address string
	client  *http.Client
}

// newVisitor makes a visitor that uses HTTP/1.1, or HTTP/2 without TLS.
func newVisitor(t *testing.T, address string, http2 bool) *visitor {
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(!http2)
	transport.Protocols.SetUnencryptedHTTP2(http2)
	t.Cleanup(transport.CloseIdleConnections)
	return &visitor{address, &http.Client{Transport: transport, Timeout: patience}}
}

// answer is a response with its whole body.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// ask sends a request. header has names and values in turn.
func (v *visitor) ask(t *testing.T, method, path string, body io.Reader, header ...string) answer {
	t.Helper()
	r, err := http.NewRequest(method, "http://"+v.address+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return v.send(t, r)
}

// begin announces a body but sends only its beginning.
func (v *visitor) begin(t *testing.T, beginning string) answer {
	t.Helper()
	never, _ := io.Pipe()
	timer := time.AfterFunc(patience, func() { _ = never.Close() }) // the client gives up only when the body is closed
	defer timer.Stop()
	body := struct {
		io.Reader
		io.Closer
	}{io.MultiReader(strings.NewReader(beginning), never), never}
	r, err := http.NewRequest("POST", "http://"+v.address+"/orders", body)
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = 1000
	r.Header.Set("Accept", "text/html")
	return v.send(t, r)
}

func (v *visitor) send(t *testing.T, r *http.Request) answer {
	t.Helper()
	if r.Body != nil { // a proxy may leave some of it unread, and close the connection under the next request
		defer v.client.CloseIdleConnections()
	}
	response, err := v.client.Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	return readAnswer(t, response)
}

func readAnswer(t *testing.T, response *http.Response) answer {
	t.Helper()
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s after %d bytes of its body: %v", response.Status, len(body), err)
	}
	return answer{response.StatusCode, response.Header, body}
}

// say sends bytes, and returns the connection and the response. The connection is
// closed when the test ends.
func (v *visitor) say(t *testing.T, request string) (net.Conn, *bufio.Reader, *http.Response) {
	t.Helper()
	conn, err := net.Dial("tcp", v.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	response, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatalf("%.60q: %v", request, err)
	}
	return conn, r, response
}

// handshake asks for an upgrade to another protocol.
func handshake(protocol string) string {
	return "GET /socket HTTP/1.1\r\nHost: platform.test\r\nAccept: text/html\r\nConnection: Upgrade\r\nUpgrade: " + protocol +
		"\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
}

// wantSocket opens a websocket, and checks that a frame is echoed.
func (v *visitor) wantSocket(t *testing.T) {
	t.Helper()
	conn, r, response := v.say(t, handshake("websocket"))
	if response.StatusCode != http.StatusSwitchingProtocols || response.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("websocket: %s %v", response.Status, response.Header)
	}
	frame := append([]byte{0x82, 0x80 | 100, 1, 2, 3, 4}, random(100)...)
	if _, err := conn.Write(frame); err != nil {
		t.Fatal(err)
	}
	back := make([]byte, len(frame))
	if _, err := io.ReadFull(r, back); err != nil || !bytes.Equal(back, frame) {
		t.Fatalf("the websocket sent back %x, %v", back, err)
	}
}

// wantUploads sends 3 MB to a path, with a Content-Length and in chunks, and compares
// the answer with what it should be.
func (v *visitor) wantUploads(t *testing.T, path string, back func(sent []byte) []byte) {
	t.Helper()
	sent := random(3 << 20)
	want := back(sent)
	for range 3 {
		for form, body := range map[string]io.Reader{"Content-Length": bytes.NewReader(sent), "chunks": struct{ io.Reader }{bytes.NewReader(sent)}} {
			if a := v.ask(t, "POST", path, body); a.status != 200 || !bytes.Equal(a.body, want) {
				t.Errorf("upload to %s with %s: %d, %d bytes came back of %d, the same up to byte %d", path, form, a.status, len(a.body), len(want), common(a.body, want))
			}
		}
	}
}

func itself(sent []byte) []byte { return sent }

func digest(sent []byte) []byte {
	sum := sha256.Sum256(sent)
	return sum[:]
}

func random(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

func common(a, b []byte) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// wantRefusal fails unless the answer is the pods' own refusal, in HTML.
func (a answer) wantRefusal(t *testing.T, what string) {
	t.Helper()
	if a.status != 503 || a.header.Get("Content-Type") != "text/html; charset=utf-8" || a.header.Get("Retry-After") == "" ||
		a.header.Get("Cache-Control") != "no-store" || !bytes.Contains(a.body, []byte("Back at ten")) {
		t.Errorf("%s: %d %v %.200s", what, a.status, a.header, a.body)
	}
}
