package httpx

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// lingeringConnection makes a connection that lingers; far is the caller's end.
func lingeringConnection(t *testing.T) (c *connection, far net.Conn, draining chan struct{}) {
	t.Helper()
	near, far := net.Pipe()
	draining = make(chan struct{})
	l := newListener(nil, 1, new(atomic.Int64), draining)
	l.slots <- struct{}{}
	l.open.Add(1)
	c = &connection{Conn: near, listener: l}
	c.lingers.Store(true)
	return c, far, draining
}

func TestARefusedConnectionEndsInBoundedTime(t *testing.T) {
	for name, test := range map[string]struct {
		caller      func(far net.Conn)
		least, most time.Duration
	}{
		"is silent":       {func(net.Conn) {}, lingering.patience, lingering.patience},
		"sends trickles":  {sendEvery(time.Second, 5), lingering.patience, 2 * lingering.patience},
		"sends on and on": {sendEvery(10*time.Millisecond, 10<<10), mostLinger, mostLinger + lingering.patience},
		"goes away":       {func(far net.Conn) { time.Sleep(time.Second); far.Close() }, time.Second, time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			c, far, _ := lingeringConnection(t)
			var calling sync.WaitGroup
			calling.Go(func() { test.caller(far) })
			defer calling.Wait()
			began := time.Now()
			_ = c.Close()
			if took := time.Since(began); took < test.least || took > test.most {
				t.Errorf("a caller that %s is cut off after %v, want %v to %v", name, took, test.least, test.most)
			}
			if len(c.listener.slots) != 0 || c.listener.open.Load() != 0 {
				t.Error("its place is not free")
			}
			_ = c.Close() // a second Close must not give its place back again
			far.Close()
		})
	}
}

func sendEvery(pause time.Duration, n int) func(net.Conn) {
	return func(far net.Conn) {
		for {
			time.Sleep(pause)
			if _, err := far.Write(make([]byte, n)); err != nil {
				return
			}
		}
	}
}

func TestLingeringEndsWithTheDrainAndWithASecondClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, far, draining := lingeringConnection(t)
		defer far.Close()
		var calling sync.WaitGroup
		calling.Go(func() { sendEvery(10*time.Millisecond, 10<<10)(far) })
		defer calling.Wait()
		began := time.Now()
		time.AfterFunc(time.Second, func() { close(draining) })
		_ = c.Close()
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("it outlasts the beginning of the drain by %v", took-time.Second)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		c, far, _ := lingeringConnection(t)
		defer far.Close()
		began := time.Now()
		go func() { _ = c.Close() }()
		synctest.Wait()
		_ = c.Close()
		synctest.Wait()
		if took := time.Since(began); took != 0 || len(c.listener.slots) != 0 {
			t.Errorf("the second Close waited for %v", took)
		}
	})
}

func TestALineTakesNoMoreConnectionsThanItMay(t *testing.T) {
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open atomic.Int64
	l := newListener(plain, 2, &open, make(chan struct{}))
	accepted, failed := make(chan net.Conn), make(chan error, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				failed <- err
				return
			}
			accepted <- c
		}
	}()
	for range 5 {
		c, err := net.Dial("tcp", plain.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	first, second := <-accepted, <-accepted
	if open.Load() != 2 || len(l.slots) != 2 {
		t.Fatalf("%d are open, %d places taken", open.Load(), len(l.slots))
	}
	first.Close()
	third := <-accepted // it is let in once there is room
	if open.Load() != 2 {
		t.Errorf("%d are open", open.Load())
	}
	l.Close() // while Accept waits for room
	if err := <-failed; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept ended with %v", err)
	}
	second.Close()
	third.Close()
	if open.Load() != 0 {
		t.Errorf("%d are open at the end", open.Load())
	}
}
