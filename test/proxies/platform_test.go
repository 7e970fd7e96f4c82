package proxies

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// upstream is the platform. It echoes a body while it reads it, or sends the body's
// digest afterwards, upgrades to any protocol, and has a path that is forbidden.
type upstream struct {
	*httptest.Server
	requests atomic.Int64
	upgrades atomic.Int64 // requests with any Upgrade header
	last     atomic.Pointer[http.Request]
}

func newUpstream(t *testing.T) *upstream {
	u := &upstream{}
	u.Server = httptest.NewServer(u)
	t.Cleanup(u.Close)
	return u
}

func (u *upstream) address() string { return strings.TrimPrefix(u.URL, "http://") }

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.requests.Add(1)
	u.last.Store(r)
	if r.Header.Get("Upgrade") != "" {
		u.upgrades.Add(1)
	}
	switch {
	case r.URL.Path == "/forbidden":
		http.Error(w, "the platform's own", http.StatusForbidden)
	case r.Header.Get("Upgrade") != "":
		u.upgrade(w, r)
	case r.URL.Path == "/echo":
		sendBack(w, r)
	case r.URL.Path == "/digest":
		sum := sha256.New()
		if _, err := io.Copy(sum, r.Body); err != nil {
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write(sum.Sum(nil))
	default:
		fmt.Fprintf(w, "%s %s at the platform", r.Method, r.URL)
	}
}

func sendBack(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	if r.ProtoMajor == 1 {
		_ = control.EnableFullDuplex()
	}
	buffer := make([]byte, 16<<10)
	for {
		n, err := r.Body.Read(buffer)
		_, _ = w.Write(buffer[:n])
		_ = control.Flush()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

// upgrade switches to the protocol that is asked for, and echoes what it reads.
func (u *upstream) upgrade(w http.ResponseWriter, r *http.Request) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		r.Header.Get("Upgrade"), acceptance(r.Header.Get("Sec-WebSocket-Key")))
	_ = rw.Flush()
	_, _ = io.Copy(conn, rw)
}

// acceptance is the answer to a websocket's key (RFC 6455, 4.2.2).
func acceptance(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}
