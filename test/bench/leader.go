package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// payloadSize is about the size of what settings_commit() sends for one changed
// setting, in bytes.
const payloadSize = 350

// told is the last change, and a channel that the next one closes.
type told struct {
	event []byte
	next  chan struct{}
}

// lead is a child that has a value in memory and passes each change on to its
// followers, and does nothing else. It prints its address first. Each order makes a
// change, which carries the time at which it was in memory.
func lead(orders *bufio.Scanner, answers io.Writer) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var last atomic.Pointer[told]
	last.Store(&told{next: make(chan struct{})})
	go func() {
		_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			now, flusher := last.Load(), http.NewResponseController(w)
			w.Header().Set("Content-Type", "text/event-stream")
			for err := flusher.Flush(); err == nil; err = flusher.Flush() {
				select {
				case <-now.next:
				case <-r.Context().Done():
					return
				}
				now = last.Load()
				if _, err := w.Write(now.event); err != nil {
					return
				}
			}
		}))
	}()
	fmt.Fprintln(answers, l.Addr())
	for orders.Scan() {
		at := fmt.Sprintf("%020d", time.Now().UnixNano())
		now := &told{fmt.Appendf(nil, "data: %s%s\n\n", at, strings.Repeat("x", payloadSize-len(at))), make(chan struct{})}
		close(last.Swap(now).next)
	}
	return orders.Err()
}
