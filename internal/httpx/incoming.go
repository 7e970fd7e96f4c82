package httpx

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A request's body and its answer are independent: the answer does not wait for
// the body. Left alone, net/http would read up to 256 KiB of the body before it
// answers, and those bytes would be lost to the handler that is still reading. If
// the answer begins before the body has ended, its header says that the connection
// closes (RFC 9112, 9.6).

// incoming is a request's body for as long as the request is being answered.
type incoming struct {
	body    io.Reader // net/http's
	control *http.ResponseController

	pace  *pace                   // set if the body is passed on; nil: its route has a deadline
	mu    sync.Mutex              // held while a Read is under way
	whole atomic.Bool             // it was read to its end
	over  atomic.Bool             // it must not be read any more
	slow  atomic.Bool             // it fell behind its pace
	fault atomic.Pointer[problem] // the caller's fault that ended it; nil: none
}

// Read is for one reader at a time.
func (b *incoming) Read(p []byte) (n int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch { // after the answer, touching net/http's body would panic
	case b.whole.Load():
		return 0, io.EOF
	case b.over.Load():
		return 0, http.ErrBodyReadAfterClose
	}
	began := time.Now()
	if b.pace != nil {
		_ = b.control.SetReadDeadline(began.Add(b.pace.left()))
		if b.over.Load() { // then our deadline may have replaced the one that end set
			return 0, http.ErrBodyReadAfterClose
		}
	}
	n, err = b.body.Read(p)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		b.slow.Store(!b.over.Load())
		return n, err
	case b.pace != nil:
		b.pace.took(time.Since(began), n)
		_ = b.control.SetReadDeadline(time.Time{}) // else it would later end the whole HTTP/2 stream
	}
	switch {
	case errors.Is(err, io.EOF): // but not ErrUnexpectedEOF
		b.whole.Store(true)
	case err != nil:
		b.fault.Store(faultOf(err))
	}
	return n, err
}

// faultOf turns the error that ended a body into the caller's problem.
func faultOf(err error) *problem {
	if _, network := errors.AsType[net.Error](err); network || errors.Is(err, io.ErrUnexpectedEOF) {
		return callerLeft.because("The caller went away in the middle of its body.")
	}
	return malformedBody.because("The body is not encoded as its header says: %v. Send it again.", err)
}

// Close does nothing, because a transport may call it during a Read.
func (b *incoming) Close() error { return nil }

// passOn replaces the body's deadline by a pace from now on.
func (b *incoming) passOn() {
	p := uploading
	b.pace = &p
	_ = b.control.SetReadDeadline(time.Time{}) // connecting to the upstream may take longer than the deadline
}

// end stops all reading of the body. It returns once no Read is under way.
func (b *incoming) end() {
	if b.whole.Load() {
		return
	}
	b.over.Store(true)
	_ = b.control.SetReadDeadline(time.Unix(1, 0)) // ends a Read under way
	b.mu.Lock()
	defer b.mu.Unlock()
}

// answering is the response writer of a request whose body is an [incoming].
type answering struct {
	http.ResponseWriter
	body  *incoming
	began bool
}

func (a *answering) WriteHeader(status int) {
	if status >= 200 && !a.began {
		a.begin()
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answering) Write(p []byte) (int, error) {
	if !a.began {
		a.begin()
	}
	return a.ResponseWriter.Write(p)
}

func (a *answering) begin() {
	a.began = true
	if !a.body.whole.Load() {
		a.Header().Set("Connection", "close")
	}
}

// Unwrap lets [http.ResponseController] find the writer inside.
func (a *answering) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// withBody serves a request so that its answer does not wait for its body.
func withBody(next http.Handler, w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 {
		next.ServeHTTP(w, r)
		return
	}
	control := http.NewResponseController(w)
	body := &incoming{body: r.Body, control: control}
	if r.ProtoMajor == 1 {
		_ = control.EnableFullDuplex()
		a := &answering{ResponseWriter: w, body: body}
		w = a
		defer func() { // deferred, because a panic may break off the answer
			if !a.began {
				a.begin()
			}
			body.end()
			if !body.whole.Load() {
				lingerAfter(r.Context())
			}
		}()
	} else {
		defer body.end()
	}
	r.Body = body
	next.ServeHTTP(w, r)
}

type connectionKey struct{}

// lingerAfter makes the request's connection read on for a while after the answer.
// If it closed while the caller is still sending, the caller could lose the answer.
func lingerAfter(ctx context.Context) {
	if c, ok := ctx.Value(connectionKey{}).(*connection); ok {
		c.lingers.Store(true)
	}
}
