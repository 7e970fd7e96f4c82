package httpx

import (
	"errors"
	"io"
	"net/http"
	"slices"
)

// trailers passes on what comes after a request's body, as far as a header of that
// name would be passed on.
type trailers struct {
	io.ReadCloser // the body
	in            *http.Request
	out           http.Header
	passes        func(name string) bool
	holdsToken    func(text string) bool
}

// passTrailers has out, the request to the upstream, send them. They are known once
// the body has been read; before, only the names that the caller announces are.
func (s *Server) passTrailers(out, in *http.Request) {
	out.Trailer = nil                                                          // else names without values
	mayCome := in.Trailer != nil || in.ProtoMajor == 1 && in.ContentLength < 0 // over HTTP/2 net/http drops what is not announced
	if out.Body == nil || !mayCome {
		return
	}
	t := &trailers{ReadCloser: out.Body, in: in, out: http.Header{}, holdsToken: s.tokens.in}
	t.passes = func(name string) bool {
		return !spoofable(name) && !namesOverride(name) && !aboutMessage[name] && !s.tokens.inName(name)
	}
	for name := range in.Trailer {
		if t.passes(name) {
			t.out[name] = nil
		}
	}
	out.Body, out.Trailer = t, t.out
	out.TransferEncoding = []string{"chunked"} // only so can HTTP/1.1 have trailers
}

// Read is called by the transport, which sends the trailers after the last of it.
func (t *trailers) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		for name, values := range t.in.Trailer {
			if !t.passes(name) {
				continue
			}
			if values = slices.DeleteFunc(slices.Clone(values), t.holdsToken); len(values) > 0 {
				t.out[name] = values
			}
		}
	}
	return n, err
}

// aboutMessage are headers that say where a request goes, where it ends or whose it
// is. They are judged before the body, so after it they do not pass (RFC 9110, 6.5.1).
var aboutMessage = map[string]bool{
	"Authorization": true, "Connection": true, "Content-Encoding": true, "Content-Length": true, "Content-Range": true,
	"Content-Type": true, "Cookie": true, "Expect": true, "Host": true, "Keep-Alive": true, "Origin": true,
	"Proxy-Authorization": true, "Proxy-Connection": true, "Te": true, "Trailer": true, "Transfer-Encoding": true,
	"Upgrade": true, "X-Request-Id": true,
}
