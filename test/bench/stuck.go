package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

const (
	stuckReaders = 300
	stuckTexts   = 40
	textBytes    = 64 << 10
	// stuckRounds is how many states of the settings the readers get stuck in. The pod
	// holds all of them at once.
	stuckRounds = 10
	// narrowBuffer is how much of an answer the kernel buffers for a reader, in bytes.
	narrowBuffer = 8 << 10
	// stuckRequests are sent at once on each connection. The kernel on the pod's side
	// buffers a whole answer and more, so the pod itself holds one of the next.
	stuckRequests = 4
)

// stick asks for a path several times, reads the first line of the answer, and then stops reading.
func stick(ctx context.Context, address, path string) (net.Conn, error) {
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, narrowBuffer)
		})
	}}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(conn, strings.Repeat("GET "+path+" HTTP/1.1\r\nHost: bench\r\n\r\n", stuckRequests))
	line, err := bufio.NewReaderSize(conn, 16).ReadString('\n')
	if err == nil && !strings.Contains(line, " 200 ") {
		err = fmt.Errorf("%s answered %q", path, line)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// write sets one of the texts, to one letter repeated.
func (c *crowded) write(ctx context.Context, text int, filler string) error {
	_, err := c.call(ctx, c.client, http.MethodPut, fmt.Sprintf("/api/v1/admin/settings/text_%d", text), tokenOf(0), "",
		fmt.Sprintf(`{"kind":"text","public":true,"value":%q}`, strings.Repeat(filler, textBytes)))
	return err
}

// stuck is how many MiB a new process grows when the readers of a path stop reading,
// and how many answers the pod then still holds. The texts change meanwhile. They
// have changed and been sent before too, so the growth is due to the readers.
func (c *crowded) stuck(ctx context.Context, path string) (mib, unsent float64, err error) {
	if err := c.again(ctx); err != nil {
		return 0, 0, err
	}
	for text := range stuckTexts {
		if err := c.write(ctx, text, "a"); err != nil {
			return 0, 0, err
		}
	}
	sent := func() (float64, error) {
		return c.metric(c.client, `http_requests_total{method="GET",route="`+path+`",status="2xx"}`)
	}
	pass := func(filler string, readers int) (mib, unsent float64, err error) {
		before, err := sent()
		for text := 0; text < stuckRounds && err == nil; text++ {
			if err = c.write(ctx, text, filler); err != nil {
				break
			}
			if _, err = c.call(ctx, c.client, http.MethodGet, "/api/v1/settings", "", "", ""); err != nil {
				break
			}
			if path == "/api/v1/settings" {
				before++
			}
			for range readers / stuckRounds {
				conn, err := stick(ctx, c.address, path)
				if err != nil {
					return 0, 0, err
				}
				defer conn.Close()
			}
		}
		if err != nil {
			return 0, 0, err
		}
		after, err := sent()
		if err != nil {
			return 0, 0, err
		}
		mib, err = c.resident()
		return mib, before + float64(readers*stuckRequests) - after, err
	}
	if _, err := c.call(ctx, c.client, http.MethodGet, path, "", "", ""); err != nil {
		return 0, 0, err
	}
	before, _, err := pass("b", 0)
	if err != nil {
		return 0, 0, err
	}
	after, unsent, err := pass("c", stuckReaders)
	if err == nil && path == "/api/v1/settings" && unsent < stuckReaders {
		err = fmt.Errorf("the pod holds %v answers for %d readers: the kernel took the others", unsent, stuckReaders)
	}
	return after - before, unsent, err
}

func sticking(ctx context.Context, r *report, o options, c *crowded) error {
	s := r.section("stuck readers", fmt.Sprintf("%d readers of one pod who ask and then stop reading, while the settings change %d times: by how much the pod's process grows for all of them together (RSS; the kernel's buffers are not in it). Settings: %d public texts of %d KiB. Answers held: those that the pod has not finished sending.", stuckReaders, stuckRounds, stuckTexts, textBytes>>10),
		"what they ask for", "answers held", "MiB", "KiB a reader")
	var all float64
	for _, path := range []string{"/readyz", "/api/v1/settings"} {
		mib, unsent, err := c.stuck(ctx, path)
		if err != nil {
			return err
		}
		s.row(path, unsent, round(mib, 1), round(mib*1024/stuckReaders, 1))
		all = mib
	}
	r.reach("300 who stop reading 2.6 MB of settings, together", 64, round(all, 1), "MiB")
	return nil
}
