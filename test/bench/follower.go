package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// follow is a child that follows a leader with many connections. Its order is "ADDRESS
// NUMBER". It reports when all are following. Then, for each change that all of them
// have, it reports after how many nanoseconds the first, the median and the last had
// it, and how many bytes the last one read for it. Both processes use the same
// machine's clock.
func follow(orders *bufio.Scanner, answers io.Writer) error {
	fmt.Fprintln(answers, "ready")
	if !orders.Scan() {
		return orders.Err()
	}
	var address string
	var n int
	if _, err := fmt.Sscan(orders.Text(), &address, &n); err != nil {
		return err
	}
	took := make(sample, n)
	var left atomic.Int64
	left.Store(int64(n))
	// The next change is made only after this one is reported, so changes never overlap.
	has := func(follower int, d time.Duration, size int) {
		took[follower] = d
		if left.Add(-1) == 0 {
			left.Store(int64(n))
			fmt.Fprintln(answers, int64(took.quantile(0)), int64(took.p50()), int64(took.max()), size)
		}
	}
	failed := make(chan error, n)
	for from := 0; from < n; from += 50 { // more at once might not be accepted in time
		var connecting sync.WaitGroup
		for i := from; i < min(from+50, n); i++ {
			connecting.Go(func() {
				stream, err := openStream(address)
				if err != nil {
					failed <- err
					return
				}
				go func() { failed <- stream.read(func(d time.Duration, size int) { has(i, d, size) }) }()
			})
		}
		connecting.Wait()
	}
	select {
	case err := <-failed:
		return err
	default:
		fmt.Fprintln(answers, "following")
	}
	ended := make(chan error, 1)
	go func() { orders.Scan(); ended <- orders.Err() }()
	select {
	case err := <-failed:
		return fmt.Errorf("a follower: %w", err)
	case err := <-ended:
		return err
	}
}

// stream is a response that does not end, in chunks. It is parsed by hand, because an
// HTTP client would cost more than what is measured.
type stream struct{ *bufio.Reader }

func openStream(address string) (*stream, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: leader\r\n\r\n"); err != nil {
		return nil, err
	}
	s := &stream{bufio.NewReaderSize(conn, 1024)}
	for {
		line, err := s.ReadString('\n')
		if err != nil {
			return nil, err
		}
		if line == "\r\n" { // the end of the head
			return s, nil
		}
	}
}

// read reads each change until the connection ends.
func (s *stream) read(has func(took time.Duration, size int)) error {
	chunk := make([]byte, 1024)
	for {
		line, err := s.ReadSlice('\n')
		if err != nil {
			return err
		}
		head := len(line)
		size, err := strconv.ParseUint(strings.TrimSpace(string(line)), 16, 9)
		if err != nil {
			return err
		}
		body := chunk[:size+2] // with its line ending
		if _, err := io.ReadFull(s, body); err != nil {
			return err
		}
		at, err := strconv.ParseInt(string(body[len("data: "):][:20]), 10, 64)
		if err != nil {
			return err
		}
		has(time.Duration(time.Now().UnixNano()-at), head+len(body))
	}
}
