package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

const (
	// requestTimeout is for a write: a pod may take 13 s for one.
	requestTimeout = 30 * time.Second

	// answerTimeout is how long a pod may take to answer, in addition to the wait
	// that it was asked for.
	answerTimeout = 10 * time.Second

	// leastRest is the shortest pause between two requests.
	leastRest = 250 * time.Millisecond
)

// again repeats a request until it succeeds, until repeating it cannot help, or
// until the deadline. It makes at least one attempt. Each distinct reason for
// retrying is reported once.
func (o *operator) again(ctx context.Context, deadline time.Time, once func() error) error {
	for {
		err := once()
		if err == nil || isFinal(err) || ctx.Err() != nil || time.Until(deadline) <= 0 {
			return err
		}
		o.note(err)
		rest(ctx, min(restAfter(err), time.Until(deadline)))
	}
}

// isFinal reports whether retrying cannot help: a pod itself refused the request,
// or reported that it is committed.
func isFinal(err error) bool {
	refused, ok := errors.AsType[*refusal](err)
	if !ok {
		return errors.Is(err, errClearText)
	}
	switch refused.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return refused.Status < 500 || refused.Revision > 0
}

// mayHaveWritten reports whether a write that ended with this error may be
// committed. A pod's 503 says that nothing was changed, with one exception.
func mayHaveWritten(err error) bool {
	if refused, ok := errors.AsType[*refusal](err); ok {
		return refused.Status >= 500 && (refused.Status != http.StatusServiceUnavailable || refused.Type == problemTypes+"outcome-unknown")
	}
	if failed, ok := errors.AsType[*failure](err); ok {
		return failed.sent
	}
	return err != nil
}

// restAfter is how long to wait before the next request. If the answer is not a
// pod's, Retry-After counts only with a 429: error pages ask for minutes, but the
// next pod is usually ready within seconds.
func restAfter(err error) time.Duration {
	if refused, ok := errors.AsType[*refusal](err); ok {
		return max(leastRest, refused.retryAfter)
	}
	if other, ok := errors.AsType[*foreign](err); ok && other.status == http.StatusTooManyRequests {
		return max(leastRest, other.retryAfter)
	}
	return leastRest
}

func rest(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// note reports why a request is made again, once for each distinct reason.
func (o *operator) note(err error) {
	what := err.Error()
	key := what
	if refused, ok := errors.AsType[*refusal](err); ok { // its detail may differ each time
		what = fmt.Sprintf("%s returned %s", o.base.Host, what)
		key = fmt.Sprint(refused.Status, refused.Type)
	}
	if o.noted[key] {
		return
	}
	o.noted[key] = true
	progress{o.stderr}.clear()
	fmt.Fprintln(o.stderr, "api: retrying:", plain(what))
}
