package httpx

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"platform-settings/settings"
)

// narrow is a listener whose connections have small kernel buffers, so that an answer
// that nobody reads stays in this process's memory.
type narrow struct{ net.Listener }

const kernelBuffer = 8 << 10

func (l narrow) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		_ = conn.(*net.TCPConn).SetWriteBuffer(kernelBuffer)
	}
	return conn, err
}

// stick requests a path, reads the first line of the answer, and then stops reading.
func stick(t *testing.T, address, path string) {
	t.Helper()
	dialer := net.Dialer{Timeout: patience, Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, kernelBuffer)
		})
	}}
	conn, err := dialer.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Error(err)
		return
	}
	t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
	if line, err := bufio.NewReaderSize(conn, 16).ReadString('\n'); err != nil || !strings.Contains(line, " 200 ") {
		t.Errorf("%s: %q, %v", path, line, err)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC() // frees what finalizers and pools still held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}

// Anybody can request the public settings, and then stop reading the answer.
func TestReadersThatStopReadingShareTheBytes(t *testing.T) {
	const (
		texts, readers, rounds = 40, 300, 10
		most                   = 64 << 20
	)
	s := serve(t, nil)
	put := func(i int, filler string) {
		value, _ := json.Marshal(strings.Repeat(filler, settings.MaxValueBytes))
		s.put(t, fmt.Sprintf("settings/text_%d", i), fmt.Sprintf(`{"kind":"text","public":true,"value":%s}`, value))
	}
	for i := range texts {
		put(i, "x")
	}
	front := httptest.NewUnstartedServer(s.Handler())
	front.Listener = narrow{front.Listener}
	front.Start()
	t.Cleanup(func() { front.CloseClientConnections(); front.Close() })
	address := front.Listener.Addr().String()

	before := heap()
	for round := range rounds {
		var wg sync.WaitGroup
		for i := range readers / rounds {
			wg.Go(func() {
				switch i % 10 {
				case 0:
					stick(t, address, fmt.Sprintf("/api/v1/settings/text_%d", round))
				default:
					stick(t, address, "/api/v1/settings")
				}
			})
		}
		wg.Wait()
		put(round, "y")
	}
	after := heap()
	t.Logf("the heap grew from %d to %d MiB", before>>20, after>>20)
	if after > before+most {
		t.Errorf("the heap grew from %d to %d MiB under %d readers that stopped reading, want %d MiB more at most",
			before>>20, after>>20, readers, most>>20)
	}
}
