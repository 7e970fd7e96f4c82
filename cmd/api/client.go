package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// maxAnswer is the most that is read of an answer, in bytes.
const maxAnswer = 64 << 20

// client sends requests to a running pod, or to a load balancer in front of pods.
type client struct {
	base  *url.URL
	token string
	http  *http.Client
}

// newClient makes a client. Unless insecure is set, it sends a token in clear text
// only to this machine.
func newClient(c clientConfig, insecure bool) (*client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	// With keep-alive, every request would go to the same pod, even after the
	// load balancer has found a better one.
	transport.DisableKeepAlives = true
	transport.Proxy = tunnelOnly
	if c.APIURL.Scheme == "http" && c.APIToken != "" && !insecure {
		if !isThisMachine(c.APIURL.Hostname()) {
			return nil, errClearText
		}
		transport.DialContext = (&net.Dialer{Timeout: requestTimeout, Control: thisMachineOnly}).DialContext
	}
	return &client{base: c.APIURL.URL, token: string(c.APIToken), http: &http.Client{
		Transport: transport,
		// Following a redirect would send the token to wherever it points.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// request is one request to a path of the API.
type request struct {
	method, path string
	query        url.Values
	body         any           // sent as JSON; nil: no body
	wait         time.Duration // Prefer: wait, in whole seconds; 0: not asked for
	timeout      time.Duration // for the whole exchange
}

// refusal is a pod's own error answer.
type refusal struct {
	Status     int
	Type       string
	Title      string
	Detail     string
	Revision   int64         // of the commit, if the change was made all the same; else 0
	retryAfter time.Duration // 0: the pod did not say
}

func (r *refusal) Error() string { return fmt.Sprintf("%d: %s: %s", r.Status, r.Title, r.Detail) }

// foreign is an answer that did not come from a pod.
type foreign struct {
	host       string
	status     int
	retryAfter time.Duration // 0: it did not say
}

func (f *foreign) Error() string {
	// Our own phrase: the server's may be different each time.
	said := strings.TrimSpace(fmt.Sprint(f.status, " ", http.StatusText(f.status)))
	hint := ""
	if f.status < 500 {
		hint = "; check API_URL"
	}
	return fmt.Sprintf("%s returned %s, but does not look like a pod%s", f.host, said, hint)
}

// failure is an exchange that brought no complete answer.
type failure struct {
	host  string
	cause error
	sent  bool // the request, or a part of it, may have arrived
}

func (f *failure) Error() string { return fmt.Sprintf("%s: %v", f.host, f.cause) }
func (f *failure) Unwrap() error { return f.cause }

// problemTypes is the prefix of every problem type that a pod reports.
const problemTypes = "urn:platform-settings:problem:"

// call sends one request and decodes the answer. The error is a [*refusal], a
// [*foreign] or a [*failure].
func (c *client) call(ctx context.Context, r request, answer report) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.timeout, errors.New("no answer in time"))
	defer cancel()
	var sent atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }})
	status, header, body, err := c.exchange(traced, r)
	if err != nil {
		return &failure{c.base.Host, reason(ctx, err), sent.Load()}
	}
	if status < 300 && json.Unmarshal(body, answer) == nil && answer.whole() {
		return nil
	}
	after := retryAfter(header)
	refused := &refusal{retryAfter: after}
	if status >= 400 && json.Unmarshal(body, refused) == nil && refused.Status == status && strings.HasPrefix(refused.Type, problemTypes) {
		return refused
	}
	return &foreign{c.base.Host, status, after}
}

// exchange sends one request and reads the whole answer.
func (c *client) exchange(ctx context.Context, r request) (status int, header http.Header, body []byte, err error) {
	var content io.Reader
	if r.body != nil {
		text, err := json.Marshal(r.body)
		if err != nil {
			return 0, nil, nil, err
		}
		content = bytes.NewReader(text)
	}
	address := c.base.JoinPath(r.path)
	address.RawQuery = r.query.Encode()
	request, err := http.NewRequestWithContext(ctx, r.method, address.String(), content)
	if err != nil {
		return 0, nil, nil, err
	}
	if r.body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	if r.wait > 0 {
		request.Header.Set("Prefer", fmt.Sprintf("wait=%.0f", math.Ceil(r.wait.Seconds())))
	}
	response, err := c.http.Do(request)
	if err != nil {
		return 0, nil, nil, err
	}
	defer response.Body.Close()
	body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	return response.StatusCode, response.Header, body, err
}

// reason is why an exchange failed. It leaves out what differs between attempts,
// such as the local port, so that the same failure has the same text.
func reason(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the connection broke off")
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	if wrapped, ok := errors.AsType[*net.OpError](err); ok {
		err = wrapped.Err
	}
	return err
}

// retryAfter is what the header asks for, in seconds or as a date.
func retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}
