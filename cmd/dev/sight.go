package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"time"
)

const (
	pollInterval = 20 * time.Millisecond

	// answerInterval is how often GET / is sent while the revision is unchanged,
	// because a window may begin or end. Each request is a line in the pod's log.
	answerInterval = time.Second

	// answerTimeout is how long a pod may take before it counts as not answering.
	answerTimeout = time.Second

	// startTimeout is how long a pod may take to migrate, read and listen.
	startTimeout = 30 * time.Second
)

// sight is the result of one poll of a pod.
type sight struct {
	at    time.Time
	ready readiness
	err   error // no answer; the other fields are old or zero
	ended bool  // the process has ended; this is its last sight

	answer   int // the status of GET /
	answerAt time.Time
}

type readiness struct {
	Status   string   `json:"status"`
	Source   string   `json:"source"`
	Revision int64    `json:"revision"`
	Age      float64  `json:"age_seconds"`
	Listener string   `json:"listener"`
	Problems []string `json:"problems"`
}

// client keeps a connection to each pod, and uses no proxy.
var client = &http.Client{Timeout: answerTimeout, Transport: &http.Transport{}}

// look polls the pod; last is the previous poll's result. GET / comes after the
// revision, so its answer is never older.
func (p *pod) look(ctx context.Context, last sight) sight {
	now := last
	now.ready, now.err = p.askReady(ctx)
	now.at = time.Now()
	due := now.ready.Revision != last.ready.Revision || last.err != nil || now.at.Sub(last.answerAt) >= answerInterval
	if now.err != nil || !due {
		return now
	}
	now.answerAt = now.at
	response, err := p.get(ctx, "/")
	if err != nil {
		now.err = err
		return now
	}
	defer response.Body.Close()
	_, now.err = io.Copy(io.Discard, response.Body) // so that the connection is reused
	now.answer = response.StatusCode
	return now
}

func (p *pod) askReady(ctx context.Context) (r readiness, err error) {
	response, err := p.get(ctx, "/readyz")
	if err != nil {
		return r, err
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&r); err != nil {
		return r, fmt.Errorf("read /readyz: %w", err)
	}
	_, err = io.Copy(io.Discard, response.Body)
	return r, err
}

func (p *pod) get(ctx context.Context, path string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if failed, ok := errors.AsType[*url.Error](err); ok {
		return nil, failed.Err // the view shows the URL anyway
	}
	return response, err
}

// sights polls the pod, after a first look, until it ends or ctx does.
func (p *pod) sights(ctx context.Context, last sight) iter.Seq[sight] {
	return func(yield func(sight) bool) {
		for tick := time.Tick(pollInterval); ; {
			select {
			case <-tick:
				last = p.look(ctx, last)
			case <-p.exited:
				last.err, last.ended = errors.New(p.state), true
			case <-ctx.Done():
			}
			if ctx.Err() != nil || !yield(last) || last.ended {
				return
			}
		}
	}
}

// awaitReady waits until the pod serves the database's settings and listens for
// changes.
func (p *pod) awaitReady(ctx context.Context) (sight, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("not ready after %s", startTimeout))
	defer cancel()
	for s := range p.sights(ctx, sight{}) {
		if s.ended {
			return s, fmt.Errorf("%s has ended: %w; its log ends:\n%s", p.name, s.err, p.logTail())
		}
		if s.err == nil && s.ready.Status == "ok" {
			return s, nil
		}
	}
	return sight{}, fmt.Errorf("%s: %w; its log ends:\n%s", p.name, context.Cause(ctx), p.logTail())
}
