package httpx

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// frames is a caller that writes HTTP/2 frames by hand (RFC 9113), so that it can
// send requests that no client would.
type frames struct {
	net.Conn
	stream uint32
}

const (
	frameData, frameHeaders, frameReset, frameSettings = 0, 1, 3, 4
	flagEndStream, flagEndHeaders                      = 1, 4
)

func (s *secure) frames(t *testing.T) *frames {
	t.Helper()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(s.address, "https://"), &tls.Config{RootCAs: s.roots, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	f := &frames{Conn: conn, stream: 1}
	fmt.Fprint(f, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	f.write(frameSettings, 0, 0, []byte{0, 1, 0, 0, 0, 0}) // no header table, so that every field is written out
	return f
}

func (f *frames) write(kind, flags byte, stream uint32, payload []byte) {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	head = binary.BigEndian.AppendUint32(append(head, flags), stream)
	_, _ = f.Write(append(head, payload...))
}

// ask sends a request made of header fields, each "name value". It returns the
// answer's status, or "reset" if the server reset the stream.
func (f *frames) ask(flags byte, fields ...string) (status string, err error) {
	var block []byte
	for _, field := range fields {
		name, value, _ := strings.Cut(field, " ")
		block = append(block, 0) // a literal field that is never indexed
		for _, s := range []string{name, value} {
			block = append(append(block, byte(len(s))), s...) // the length fits one byte, because s has less than 127
		}
	}
	stream := f.stream
	f.stream += 2
	f.write(frameHeaders, flags|flagEndHeaders, stream, block)
	for {
		var head [9]byte
		if _, err := io.ReadFull(f, head[:]); err != nil {
			return status, err
		}
		payload := make([]byte, binary.BigEndian.Uint32(head[:])>>8)
		if _, err := io.ReadFull(f, payload); err != nil {
			return status, err
		}
		switch kind, flags, on := head[3], head[4], binary.BigEndian.Uint32(head[5:]); {
		case kind == frameSettings && flags == 0:
			f.write(frameSettings, 1, 0, nil)
		case on != stream:
		case kind == frameReset && status == "":
			return "reset", nil
		case kind == frameHeaders && status == "":
			status = statusIn(payload)
		}
		if kind, on := head[3], binary.BigEndian.Uint32(head[5:]); on == stream && (kind == frameHeaders || kind == frameData) && head[4]&flagEndStream != 0 {
			return status, nil
		}
	}
}

// statusIn reads the first field of a header block (RFC 7541), which is :status.
// It is from the static table, or written out: 503 or 405.
func statusIn(block []byte) string {
	for block[0]&0xe0 == 0x20 { // skip updates of the table's size
		block = block[1:]
	}
	indexed := map[byte]string{0x88: "200", 0x89: "204", 0x8c: "400", 0x8d: "404"}
	if status, ok := indexed[block[0]]; ok {
		return status
	}
	return string(block[2:5])
}

func TestTheFormOfARequestOverHTTP2DoesNotGetItPastTheGate(t *testing.T) {
	address, requests := wiretap(t)
	s := serveSecurely(t, func(c *Config) { c.Upstream = address })
	request := func(method, path string, more ...string) []string {
		return append([]string{":method " + method, ":scheme https", ":authority shop.example", ":path " + path}, more...)
	}
	for _, test := range []struct {
		fields                 []string
		open, readOnly, closed string // the status with the gate open, in read-only mode, and with the gate closed
		line                   string // what the upstream gets with the gate open; "": nothing
	}{
		{request("GET", "/orders"), "204", "204", "503", "GET /orders HTTP/1.1"},
		{request("OPTIONS", "*"), "204", "204", "503", "OPTIONS / HTTP/1.1"},
		{request("GET", "http://other.example/orders"), "204", "204", "503", "GET /orders HTTP/1.1"},
		{request("GET", "//other.example/orders"), "204", "204", "503", "GET //other.example/orders HTTP/1.1"},
		{request("get", "/orders"), "204", "503", "503", "get /orders HTTP/1.1"},
		{request("GET", "/orders", "x-http-method-override DELETE"), "204", "503", "503", "GET /orders HTTP/1.1"},
		{request("GET", "/orders", "x_http_method_override DELETE"), "204", "503", "503", "GET /orders HTTP/1.1"},
		{request("GET", "/orders?_method=DELETE"), "204", "503", "503", "GET /orders?_method=DELETE HTTP/1.1"},
		{request("GET", "/orders", "sec-websocket-key dGhlIHNhbXBsZSBub25jZQ=="), "204", "503", "503", "GET /orders HTTP/1.1"},
		{request("GET", "/orders", "x_forwarded_for 192.0.2.66", "x-forwarded-for 192.0.2.66", "true_client_ip 192.0.2.66", "forwarded for=192.0.2.66"), "204", "204", "503", "GET /orders HTTP/1.1"},
		{[]string{":method GET", ":scheme https", ":path /orders", "host shop.example"}, "204", "204", "503", "GET /orders HTTP/1.1"},
		{[]string{":method GET", ":scheme http", ":authority shop.example:8443", ":path /orders"}, "204", "204", "503", "GET /orders HTTP/1.1"},
		{[]string{":method CONNECT", ":authority shop.example:443"}, "405", "503", "503", ""},
		{request("CONNECT", "/orders", ":protocol websocket"), "reset", "reset", "reset", ""},
		{request("GET", "/orders", "upgrade websocket", "connection upgrade"), "400", "400", "400", ""},
		{request("GET", "/orders", "X-Forwarded-For 192.0.2.66"), "reset", "reset", "reset", ""}, // upper case
		{[]string{":method GET", ":scheme https", ":authority user:password@shop.example", ":path /orders"}, "reset", "reset", "reset", ""},
		{request("GET", "orders"), "reset", "reset", "reset", ""},
		{request("GET", ""), "reset", "reset", "reset", ""},
		{request("GET", "/"+adminToken), "400", "400", "503", ""},
		{[]string{":method GET", ":scheme https", ":authority " + adminToken, ":path /"}, "400", "400", "503", ""},
		{request("GET", "/orders", "cookie a=1", "cookie session="+adminToken), "204", "204", "503", "GET /orders HTTP/1.1"},
		{request("GET", "/orders", "x-request-id "+adminToken), "204", "204", "503", "GET /orders HTTP/1.1"},
	} {
		for mode, want := range map[string]string{
			`{"enabled":false}`: test.open, `{"enabled":true,"read_only":true}`: test.readOnly, `{"enabled":true,"read_only":false}`: test.closed,
		} {
			s.engineSwitch(t, mode)
			f := s.frames(t)
			for _, flags := range []byte{flagEndStream, 0} { // without a body, and with one that never comes
				if flags == 0 && want == "204" {
					continue // because the upstream waits for the body
				}
				status, err := f.ask(flags, test.fields...)
				if err != nil || status != want {
					t.Errorf("%q, %s, flags %d: %s, %v; want %s", test.fields, mode, flags, status, err, want)
				}
				var got string
				if status == "204" {
					got = <-requests
				}
				select {
				case got = <-requests:
				default:
				}
				if line, _, _ := strings.Cut(got, "\r\n"); want == "204" && line != test.line || want != "204" && got != "" {
					t.Errorf("%q, %s: the upstream got %q, want %q", test.fields, mode, got, test.line)
				}
				if strings.Contains(got, "192.0.2.66") || strings.Contains(got, adminToken) {
					t.Errorf("%q, %s: the upstream got %q", test.fields, mode, got)
				}
			}
			if status, err := f.ask(flagEndStream, request("GET", "/livez")...); err != nil || status != "200" {
				t.Errorf("the connection after %q: %s, %v", test.fields, status, err)
			}
			f.Close()
		}
	}
}
