package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"time"
)

const (
	// requestTimeout is for one request; a write may take a pod 13 s, a wait is
	// its own.
	requestTimeout = 30 * time.Second
	maxAnswer      = 64 << 20
)

// client speaks to a running pod.
type client struct {
	base  *url.URL
	token string
	http  *http.Client
}

func newClient(c clientConfig) *client {
	return &client{base: c.APIURL.URL, token: string(c.APIToken), http: &http.Client{
		// A redirect would take the token to wherever it points.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// refusal is a pod's answer that it did not do as it was told.
type refusal struct {
	Status   int
	Type     string
	Title    string
	Detail   string
	Revision int64
}

func (r *refusal) Error() string { return fmt.Sprintf("%d: %s: %s", r.Status, r.Title, r.Detail) }

var errNoPod = errors.New("but not as a pod does")

// call sends a request to a path of the API and decodes the answer. The error is
// a *refusal if it is a pod that answered.
func (c *client) call(ctx context.Context, method, path string, query url.Values, wait time.Duration, body any, answer report) error {
	ctx, cancel := context.WithTimeoutCause(ctx, requestTimeout+wait, fmt.Errorf("no answer within %v", requestTimeout+wait))
	defer cancel()
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(text)
	}
	address := c.base.JoinPath(path)
	address.RawQuery = query.Encode()
	request, err := http.NewRequestWithContext(ctx, method, address.String(), content)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	if wait > 0 {
		request.Header.Set("Prefer", fmt.Sprintf("wait=%.0f", math.Ceil(wait.Seconds())))
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return err
	}
	if response.StatusCode < 300 && json.Unmarshal(text, answer) == nil && answer.whole() {
		return nil
	}
	refused := &refusal{Status: response.StatusCode}
	if response.StatusCode < 300 || json.Unmarshal(text, refused) != nil || refused.Title == "" {
		return fmt.Errorf("%s answered %s, %w; does API_URL lead to one?", c.base.Host, response.Status, errNoPod)
	}
	return refused
}
