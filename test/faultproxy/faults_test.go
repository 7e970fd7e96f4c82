package faultproxy

import (
	"bytes"
	"errors"
	"net"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestCutResetsWhatStands(t *testing.T) {
	w := start(t)
	client, server := w.connect()
	w.Cut()
	hearReset(t, client)
	hearReset(t, server)
	if have := w.Standing(); len(have) > 0 {
		t.Errorf("standing = %v, want none", have)
	}
	client, server = w.connect()
	send(t, client, "again")
	receive(t, server, "again")
}

func TestCutOfOneLeavesTheOthers(t *testing.T) {
	w := start(t)
	first, _ := w.connect()
	second, server := w.connect()
	w.Cut(1)
	hearReset(t, first)
	send(t, second, "still here")
	receive(t, server, "still here")
	if have := w.Standing(); !slices.Equal(have, []int{2}) {
		t.Errorf("standing = %v, want the second", have)
	}
}

func TestCutReachesThroughAStall(t *testing.T) {
	w := start(t)
	client, server := w.connect()
	w.Stall()
	w.Cut()
	hearReset(t, client)
	hearReset(t, server)
}

func TestRefuseLetsNobodyIn(t *testing.T) {
	w := start(t)
	client, server := w.connect()
	w.Refuse()
	if _, err := net.DialTimeout("tcp", w.Addr(), patience); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("error = %v, want a refusal", err)
	}
	if n := len(w.Accepted()); n != 1 {
		t.Errorf("accepted %d, want the one before", n)
	}
	send(t, client, "what stands goes on")
	receive(t, server, "what stands goes on")
	if err := w.Heal(); err != nil {
		t.Fatal(err)
	}
	client, server = w.connect()
	send(t, client, "welcome")
	receive(t, server, "welcome")
}

func TestStallHoldsEverythingUntilHealed(t *testing.T) {
	w := start(t)
	client, server := w.connect()
	w.Stall()
	// Far more than the sockets' buffers hold, so the proxy has to read it.
	up, down := pattern(16<<20), bytes.Repeat([]byte("down"), 4<<20)
	send(t, client, string(up))
	send(t, server, string(down))
	if err := server.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	hearNothing(t, client)
	hearNothing(t, server)

	late := w.dial()
	send(t, late, "late")
	hearNothing(t, late)
	select {
	case <-w.accepted:
		t.Fatal("a connection passed")
	default:
	}

	if err := w.Heal(); err != nil {
		t.Fatal(err)
	}
	receive(t, server, string(up))
	receive(t, client, string(down))
	hearEnd(t, client)
	receive(t, w.server(), "late")
}

func TestStallOfSomeLeavesTheOthersAndThoseToCome(t *testing.T) {
	w := start(t)
	first, firstServer := w.connect()
	second, secondServer := w.connect()
	w.Stall(1)
	send(t, first, "held")
	send(t, firstServer, "held too")
	hearNothing(t, firstServer)
	hearNothing(t, first)
	send(t, second, "passes")
	receive(t, secondServer, "passes")
	third, thirdServer := w.connect()
	w.Stall(2)
	send(t, second, "held")
	hearNothing(t, secondServer)
	hearNothing(t, first) // as before
	send(t, third, "passes")
	receive(t, thirdServer, "passes")
	if err := w.Heal(); err != nil {
		t.Fatal(err)
	}
	receive(t, firstServer, "held")
	receive(t, first, "held too")
	receive(t, secondServer, "held")
}

func TestStallStopsAWriteUnderWay(t *testing.T) {
	w := start(t)
	client, server := w.connect()
	want := pattern(16 << 20)
	send(t, client, string(want))
	w.mu.Lock()
	writing := &w.conns[1].writing[Client]
	w.mu.Unlock()
	for writing.TryLock() { // until the proxy waits for the server to read
		writing.Unlock()
		runtime.Gosched()
	}
	w.Stall()
	if !writing.TryLock() {
		t.Fatal("a write outlives the start of the stall")
	}
	writing.Unlock()
	// What is in the sockets' buffers still arrives. The kernel may take some hundred
	// milliseconds for the last of it.
	var have []byte
	for buffer := make([]byte, 64<<10); ; {
		_ = server.SetReadDeadline(time.Now().Add(time.Second))
		n, err := server.Read(buffer)
		have = append(have, buffer[:n]...)
		if err != nil {
			break
		}
	}
	bound(server)
	if len(have) == len(want) {
		t.Fatal("everything passed")
	}
	if err := w.Heal(); err != nil {
		t.Fatal(err)
	}
	receive(t, server, string(want[len(have):]))
	if !bytes.HasPrefix(want, have) {
		t.Error("the bytes before the stall are others")
	}
}

func TestStallFromOneSideLeavesTheOther(t *testing.T) {
	for _, silent := range sides {
		t.Run(silent.String(), func(t *testing.T) {
			w := start(t)
			client, server := w.connect()
			ends := [2]*net.TCPConn{Client: client, Server: server}
			w.StallFrom(silent)
			send(t, ends[silent], "held")
			send(t, ends[silent.other()], "passed")
			receive(t, ends[silent], "passed")
			hearNothing(t, ends[silent.other()])
			if err := w.Heal(); err != nil {
				t.Fatal(err)
			}
			receive(t, ends[silent.other()], "held")
		})
	}
}

func TestStallFromTheServerLetsConnectionsBeMade(t *testing.T) {
	w := start(t)
	w.StallFrom(Server)
	client, server := w.connect()
	send(t, client, "question")
	receive(t, server, "question")
	send(t, server, "answer")
	hearNothing(t, client)
}

func TestStallsAddUp(t *testing.T) {
	w := start(t)
	client, server := w.connect()
	w.StallFrom(Client)
	w.StallFrom(Server)
	send(t, client, "up")
	send(t, server, "down")
	hearNothing(t, client)
	hearNothing(t, server)
}

func TestClientThatGaveUpIsForgotten(t *testing.T) {
	w := start(t)
	w.Stall()
	impatient := w.dial()
	send(t, impatient, "hello?")
	if err := impatient.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	hearReset(t, impatient) // by then it is forgotten
	if err := w.Heal(); err != nil {
		t.Fatal(err)
	}
	send(t, w.dial(), "patient")
	receive(t, w.server(), "patient")
}

func TestDelayPostponesEachDirection(t *testing.T) {
	w := start(t)
	client, server := w.connect()
	const delay = 50 * time.Millisecond
	w.Delay(delay)
	began := time.Now()
	send(t, client, "ping")
	receive(t, server, "ping")
	if took := time.Since(began); took < delay {
		t.Errorf("ping took %s, want at least %s", took, delay)
	}
	send(t, server, "pong")
	receive(t, client, "pong")
	if took := time.Since(began); took < 2*delay {
		t.Errorf("round trip took %s, want at least %s", took, 2*delay)
	}
}

func TestDelayKeepsOrderAndThroughput(t *testing.T) {
	w := start(t)
	client, server := w.connect()
	const delay = 200 * time.Millisecond
	w.Delay(delay)
	began := time.Now()
	want := pattern(16 << 20)
	pieces := time.Duration(len(want) / readSize)
	send(t, client, string(want))
	receive(t, server, string(want))
	if took := time.Since(began); took < delay || took > pieces*delay/4 {
		t.Errorf("took %s; want a delay of %s, but not one for each of %d pieces", took, delay, pieces)
	}
}

func TestHealEndsADelayUnderWay(t *testing.T) {
	w := start(t)
	client, server := w.connect()
	w.Delay(time.Hour)
	send(t, client, "one, ")
	hearNothing(t, server)
	if err := w.Heal(); err != nil {
		t.Fatal(err)
	}
	send(t, client, "two")
	receive(t, server, "one, two")
}

func TestFaultsThatComeAndGoLoseNothing(t *testing.T) {
	w := start(t)
	client, server := w.connect()
	var faults sync.WaitGroup
	defer faults.Wait()
	over := make(chan struct{})
	defer close(over)
	faults.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
			}
			w.Stall()
			w.Delay(time.Millisecond)
			if err := w.Heal(); err != nil {
				t.Error(err)
				return
			}
		}
	})
	transfer(t, client, server, pattern(16<<20))
	transfer(t, server, client, pattern(16<<20))
}
