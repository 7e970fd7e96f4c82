package faultproxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"platform-settings/test/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

const (
	// patience is how long a test waits for something that must happen.
	patience = 20 * time.Second
	// silence is how long a test watches that nothing happens.
	silence = 100 * time.Millisecond
)

// world is a proxy and an upstream that hands its connections to the test.
type world struct {
	*Proxy
	t        *testing.T
	upstream net.Listener
	accepted chan *net.TCPConn
}

func start(t *testing.T) *world {
	t.Helper()
	upstream, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := Start(upstream.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Proxy: proxy, t: t, upstream: upstream, accepted: make(chan *net.TCPConn, 100)}
	go func() {
		for {
			conn, err := upstream.Accept()
			if err != nil {
				return
			}
			w.accepted <- conn.(*net.TCPConn)
		}
	}()
	t.Cleanup(func() {
		proxy.Close()
		upstream.Close()
	})
	return w
}

// dial connects to the proxy.
func (w *world) dial() *net.TCPConn {
	w.t.Helper()
	conn, err := net.DialTimeout("tcp", w.Addr(), patience)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	bound(conn)
	return conn.(*net.TCPConn)
}

// attempt makes a connection that is reset at once. The client may notice while it
// connects or when it reads.
func (w *world) attempt() {
	w.t.Helper()
	conn, err := net.DialTimeout("tcp", w.Addr(), patience)
	if err == nil {
		defer conn.Close()
		bound(conn)
		_, err = conn.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		w.t.Errorf("error = %v, want a reset", err)
	}
}

// bound sets a deadline, so that nothing hangs on the connection.
func bound(conn net.Conn) { _ = conn.SetDeadline(time.Now().Add(patience)) }

// server is the upstream's end of the next connection.
func (w *world) server() *net.TCPConn {
	w.t.Helper()
	conn := await(w.t, w.accepted)
	w.t.Cleanup(func() { conn.Close() })
	bound(conn)
	return conn
}

func await[T any](t *testing.T, events <-chan T) T {
	t.Helper()
	select {
	case event := <-events:
		return event
	case <-time.After(patience):
		t.Fatal("it did not happen")
		panic("unreachable")
	}
}

// connect returns both ends of a new connection.
func (w *world) connect() (client, server *net.TCPConn) {
	w.t.Helper()
	return w.dial(), w.server()
}

func send(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Errorf("send %.20q: %v", text, err)
	}
}

func receive(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	have := make([]byte, len(want))
	if n, err := io.ReadFull(conn, have); err != nil || string(have) != want {
		t.Errorf("received %.20q, %v; want %.20q", have[:n], err, want)
	}
}

// hearNothing fails the test if anything arrives, even the end of the stream.
func hearNothing(t *testing.T, conn net.Conn) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(silence))
	defer bound(conn)
	if n, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("received %d bytes, %v; want nothing", n, err)
	}
}

func hearReset(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("error = %v, want a reset", err)
	}
}

func hearEnd(t *testing.T, conn net.Conn) {
	t.Helper()
	if rest, err := io.ReadAll(conn); err != nil || len(rest) > 0 {
		t.Errorf("received %.20q, %v; want the end", rest, err)
	}
}

// pattern is this many bytes, without repetition, so that a misplaced part shows.
func pattern(size int) []byte {
	b := make([]byte, 0, size)
	for i := uint64(0); len(b) < size; i++ {
		b = binary.BigEndian.AppendUint64(b, i)
	}
	return b
}

func TestHealthyProxyPassesBytesAndEnds(t *testing.T) {
	w := start(t)
	client, server := w.connect()
	if have := w.Standing(); !slices.Equal(have, []int{1}) {
		t.Errorf("standing = %v, want one", have)
	}
	send(t, client, "question")
	receive(t, server, "question")
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	hearEnd(t, server)
	send(t, server, "answer") // the other direction is open
	receive(t, client, "answer")
	server.Close()
	hearEnd(t, client)
}

func TestResetTravelsBehindTheBytes(t *testing.T) {
	w := start(t)
	client, server := w.connect()
	send(t, client, "hello")
	receive(t, server, "hello")
	w.Stall()
	send(t, server, "last words")
	reset(server)
	hearNothing(t, client)
	if err := w.Heal(); err != nil {
		t.Fatal(err)
	}
	receive(t, client, "last words")
	hearReset(t, client)
}

func TestAcceptedTellsTheTimes(t *testing.T) {
	w := start(t)
	before := time.Now()
	for range 3 {
		w.connect()
	}
	times := w.Accepted()
	if len(times) != 3 || times[0].Before(before) || times[2].After(time.Now()) || !slices.IsSortedFunc(times, time.Time.Compare) {
		t.Errorf("accepted at %v since %v, want three times", times, before)
	}
}

func TestClientIsResetWhereTheUpstreamIsDown(t *testing.T) {
	w := start(t)
	w.upstream.Close()
	w.attempt()
}

func TestRefusalTravelsLikeBytes(t *testing.T) {
	w := start(t)
	w.upstream.Close()
	w.StallFrom(Server)
	client := w.dial()
	hearNothing(t, client)
	if err := w.Heal(); err != nil {
		t.Fatal(err)
	}
	hearReset(t, client)
}

// The client goes on sending to a server that has gone. What the server sent before
// must still arrive.
func TestLastWordsArriveThoughWritesFail(t *testing.T) {
	w := start(t)
	wrote := make(chan string, 10)
	w.OnBytes(func(_ int, from Side, b []byte) {
		if from == Client {
			wrote <- string(b)
		}
	})
	client, server := w.connect()
	w.StallFrom(Server)
	send(t, server, "last words")
	server.Close()
	for _, text := range []string{"one", "two"} { // the first brings an RST
		send(t, client, text)
		if have := await(t, wrote); have != text {
			t.Fatalf("passed %q, want %q", have, text)
		}
	}
	hearNothing(t, client)
	if err := w.Heal(); err != nil {
		t.Fatal(err)
	}
	receive(t, client, "last words")
}

func TestCloseEndsEverything(t *testing.T) {
	w := start(t)
	client, server := w.connect()
	w.Stall()
	hanging := w.dial()
	send(t, client, "held")
	w.Close()
	hearReset(t, client)
	hearReset(t, server)
	hearReset(t, hanging)
	if have := w.Standing(); len(have) > 0 {
		t.Errorf("standing = %v, want none", have)
	}
	if err := w.Heal(); err == nil {
		t.Error("a closed proxy listens again")
	}
	w.Close()
}

func TestBytesBeyondWhatIsHeldArrive(t *testing.T) {
	w := start(t)
	client, server := w.connect()
	transfer(t, client, server, pattern(2*mostHeld*readSize))
}

// transfer sends all the bytes while the other side reads them.
func transfer(t *testing.T, from, to *net.TCPConn, want []byte) {
	t.Helper()
	go func() {
		_, _ = from.Write(want)
		_ = from.CloseWrite()
	}()
	if have, err := io.ReadAll(to); err != nil || !bytes.Equal(have, want) {
		t.Errorf("received %d bytes, %v; want the %d sent", len(have), err, len(want))
	}
}
