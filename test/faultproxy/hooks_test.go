package faultproxy

import (
	"fmt"
	"net"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"

	"platform-settings/test/pgtest"
)

func TestEachAttemptCanBeCutAndCounted(t *testing.T) {
	w := start(t)
	w.OnAccept(func(conn int) { w.Cut(conn) })
	for range 3 {
		w.attempt()
	}
	if n := len(w.Accepted()); n != 3 {
		t.Errorf("accepted %d, want 3", n)
	}
	if len(w.accepted) > 0 {
		t.Error("the upstream heard of them")
	}
}

func TestBytesWaitForTheirHook(t *testing.T) {
	w := start(t)
	type call struct {
		conn int
		from Side
		text string
	}
	calls, release := make(chan call, 10), make(chan struct{})
	t.Cleanup(func() { close(release) })
	w.OnBytes(func(conn int, from Side, b []byte) {
		calls <- call{conn, from, string(b)}
		<-release
	})
	client, server := w.connect()
	send(t, client, "question")
	if have, want := await(t, calls), (call{1, Client, "question"}); have != want {
		t.Errorf("hook got %v, want %v", have, want)
	}
	hearNothing(t, server)
	release <- struct{}{}
	receive(t, server, "question")

	send(t, server, "answer")
	if have, want := await(t, calls), (call{1, Server, "answer"}); have != want {
		t.Errorf("hook got %v, want %v", have, want)
	}
	hearNothing(t, client)
	release <- struct{}{}
	receive(t, client, "answer")
}

func TestHooksRunWhenTheLinkLetsTheBytesPass(t *testing.T) {
	w := start(t)
	calls := make(chan int, 10)
	w.OnBytes(func(conn int, _ Side, _ []byte) { calls <- conn })
	client, server := w.connect()
	w.Stall()
	send(t, client, "held")
	hearNothing(t, server)
	if len(calls) > 0 {
		t.Error("the hook ran for held bytes")
	}
	if err := w.Heal(); err != nil {
		t.Fatal(err)
	}
	receive(t, server, "held")
	await(t, calls)
}

func TestBeforeActsOnceOnTextInPieces(t *testing.T) {
	w := start(t)
	acted := make(chan int, 10)
	w.Before(Client, "snapshot", func(conn int) {
		w.StallFrom(Client)
		acted <- conn
	})
	bystander, itsServer := w.connect()
	client, server := w.connect()
	send(t, bystander, "snap")
	receive(t, itsServer, "snap")
	send(t, server, "snapshot") // from the wrong side
	receive(t, client, "snapshot")
	send(t, client, "the snap")
	receive(t, server, "the snap")
	send(t, client, "shot")
	if conn := await(t, acted); conn != 2 {
		t.Errorf("acted on connection %d, want 2", conn)
	}
	hearNothing(t, server)
	if err := w.Heal(); err != nil {
		t.Fatal(err)
	}
	receive(t, server, "shot")
	send(t, client, "snapshot")
	receive(t, server, "snapshot")
	if len(acted) > 0 {
		t.Error("acted again")
	}
}

// A listener is most likely to miss a change that commits between LISTEN and the first
// read.
func TestFaultBetweenListenAndRead(t *testing.T) {
	url := pgtest.Empty(t)
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := Start(net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port))))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	stalled := make(chan struct{})
	proxy.Before(Client, "as snapshot", func(int) {
		proxy.Stall()
		close(stalled)
	})
	host, port, err := net.SplitHostPort(proxy.Addr())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), fmt.Sprintf("%s&host=%s&port=%s", url, host, port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	pgtest.Exec(t, conn, `listen here`)

	read := make(chan error, 1)
	go func() {
		_, err := conn.Exec(t.Context(), `select 1 as snapshot`)
		read <- err
	}()
	await(t, stalled)
	pgtest.Exec(t, pgtest.Connect(t, url), `notify here, 'in between'`)
	select {
	case err := <-read:
		t.Fatalf("read through a stalled link: %v", err)
	default:
	}
	if err := proxy.Heal(); err != nil {
		t.Fatal(err)
	}
	if err := await(t, read); err != nil {
		t.Error(err)
	}
	heard, err := conn.WaitForNotification(t.Context())
	if err != nil || heard.Payload != "in between" {
		t.Errorf("heard %v, %v", heard, err)
	}
}
