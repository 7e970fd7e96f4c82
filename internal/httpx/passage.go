package httpx

import (
	"bufio"
	"net"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

// passage is how an upstream's answer passes Echo, which takes the first status
// for the last and does not know about connections that are taken over. It goes
// at the caller's pace.
type passage struct {
	*echo.Response
	control *http.ResponseController
	body    *incoming // of the request; nil: it has none
	pace    pace
	id      string
	err     error
}

func newPassage(c echo.Context, body *incoming) *passage {
	p := &passage{
		Response: c.Response(), control: http.NewResponseController(c.Response()),
		body: body, pace: downloading, id: requestIDOf(c),
	}
	_ = p.control.SetWriteDeadline(time.Time{}) // the connection may have served one of our own routes, which leave theirs
	return p
}

func (p *passage) WriteHeader(status int) {
	if status < 200 && status != http.StatusSwitchingProtocols {
		p.Writer.WriteHeader(status)
		return
	}
	p.Header().Set(echo.HeaderXRequestID, p.id) // ours, not one more
	p.Response.WriteHeader(status)
	if p.early() {
		_ = p.FlushError()
	}
}

func (p *passage) Write(b []byte) (n int, err error) {
	err = p.paced(func() (int, error) {
		n, err = p.Response.Write(b)
		return n, err
	})
	if err == nil && p.early() {
		err = p.FlushError()
	}
	return n, err
}

// early says that the answer comes while the request is still being sent: the
// caller may wait for the one before it goes on with the other.
func (p *passage) early() bool { return p.body != nil && !p.body.whole.Load() }

// FlushError is for [http.ResponseController].
func (p *passage) FlushError() error {
	return p.paced(func() (int, error) { return 0, http.NewResponseController(p.Writer).Flush() })
}

// paced takes a step that may have to wait for the caller. The deadline stands
// only meanwhile: one of HTTP/2 would end a stream that has nothing to send.
func (p *passage) paced(step func() (int, error)) error {
	began := time.Now()
	_ = p.control.SetWriteDeadline(began.Add(p.pace.left()))
	n, err := step()
	_ = p.control.SetWriteDeadline(time.Time{})
	p.pace.took(time.Since(began), n)
	return err
}

// finish bounds what is left to be sent once the handler has returned.
func (p *passage) finish() {
	_ = p.control.SetWriteDeadline(time.Now().Add(downloading.patience))
}

func (p *passage) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := p.Response.Hijack()
	if err == nil {
		p.Status, p.Committed = http.StatusSwitchingProtocols, true
		conn = &upgraded{Conn: conn, pace: p.pace}
	}
	return conn, rw, err
}

// upgraded is a caller's end of a websocket. It may be silent for as long as it
// likes, but has to take what it is sent.
type upgraded struct {
	net.Conn
	pace pace
}

func (u *upgraded) Write(b []byte) (int, error) {
	began := time.Now()
	_ = u.SetWriteDeadline(began.Add(u.pace.left()))
	n, err := u.Conn.Write(b)
	u.pace.took(time.Since(began), n)
	return n, err
}
