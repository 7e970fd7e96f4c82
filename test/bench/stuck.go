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
	// stuckRounds is how many states of the settings the readers are stuck in: all of
	// them are held at once.
	stuckRounds = 10
	// narrowBuffer is what the kernel keeps of an answer for a reader.
	narrowBuffer = 8 << 10
	// stuckRequests are sent at once on each connection. The kernel takes in a whole
	// answer on the pod's side, and more; one of the next is held by the pod.
	stuckRequests = 4
)

// stick asks for a path, several times, and reads the first line of the answer, and then nothing.
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

// stuck is by how many MiB a new process grows for the readers of a path, who stop
// reading, and how many of the answers the pod then has not got rid of. The texts
// change meanwhile; they have changed and been sent before, so that the growth is
// the readers'.
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
	s := r.section("stuck readers", fmt.Sprintf("%d readers of one pod who ask and then stop reading, while the settings change %d times: by how much the pod's process grows for all of them together (RSS; the kernel's buffers are not in it). Settings: %d public texts of %d KiB. Answers held: those that the pod has not got rid of.", stuckReaders, stuckRounds, stuckTexts, textBytes>>10),
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
