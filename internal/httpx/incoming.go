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

// A request's body and its answer go their own ways. The answer does not wait for
// the body: net/http would first read on, up to 256 KiB, and take what it read
// from whoever still reads the body. If the answer begins before the body has
// ended, it says that the connection closes (RFC 9112, 9.6).

// incoming is the body of a request while it is answered.
type incoming struct {
	body    io.Reader // net/http's
	control *http.ResponseController

	pace  *pace                   // of a body that is passed on; nil: its route has a deadline
	mu    sync.Mutex              // held while a Read is under way
	whole atomic.Bool             // read to its end
	over  atomic.Bool             // nobody reads it any more
	slow  atomic.Bool             // it fell behind its pace
	fault atomic.Pointer[problem] // the caller's, which ended it; nil: none
}

// Read is for one reader at a time.
func (b *incoming) Read(p []byte) (n int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch { // after the answer net/http's side of it is gone, and to touch that would be a panic
	case b.whole.Load():
		return 0, io.EOF
	case b.over.Load():
		return 0, http.ErrBodyReadAfterClose
	}
	began := time.Now()
	if b.pace != nil {
		_ = b.control.SetReadDeadline(began.Add(b.pace.left()))
		if b.over.Load() { // end sets its deadline after it has said so, and ours may have replaced it
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
		_ = b.control.SetReadDeadline(time.Time{}) // else it would end a stream of HTTP/2 by itself
	}
	switch {
	case errors.Is(err, io.EOF): // and not ErrUnexpectedEOF
		b.whole.Store(true)
	case err != nil:
		b.fault.Store(faultOf(err))
	}
	return n, err
}

// faultOf is what the caller did for its body to end with this error.
func faultOf(err error) *problem {
	if _, network := errors.AsType[net.Error](err); network || errors.Is(err, io.ErrUnexpectedEOF) {
		return callerLeft.because("The caller went away in the middle of its body.")
	}
	return malformedBody.because("The body is not encoded as its header says: %v. Send it again.", err)
}

// Close does nothing: a transport may call it while it still reads.
func (b *incoming) Close() error { return nil }

// passOn has the body read at the caller's pace from now on.
func (b *incoming) passOn() {
	p := uploading
	b.pace = &p
	_ = b.control.SetReadDeadline(time.Time{}) // the upstream may take its time to be connected
}

// end returns once nobody reads the body any more.
func (b *incoming) end() {
	if b.whole.Load() {
		return
	}
	b.over.Store(true)
	_ = b.control.SetReadDeadline(time.Unix(1, 0)) // ends a Read that is under way
	b.mu.Lock()
	defer b.mu.Unlock()
}

// answering is the way back.
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

// Unwrap is for [http.ResponseController].
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
		defer func() { // also where an answer is broken off by a panic
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

// lingerAfter has the request's connection take in, for a while after the answer,
// what the caller still sends: to close at once could take the answer from it.
func lingerAfter(ctx context.Context) {
	if c, ok := ctx.Value(connectionKey{}).(*connection); ok {
		c.lingers.Store(true)
	}
}
