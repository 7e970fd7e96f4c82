package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

const (
	// requestTimeout is for the write, which may take a pod 13 s.
	requestTimeout = 30 * time.Second

	// answerTimeout is how long a pod may take for an answer, on top of what it
	// was asked to wait.
	answerTimeout = 10 * time.Second

	// leastRest lies between two requests.
	leastRest = 250 * time.Millisecond
)

// again makes a request again and again until a pod answers in a way that
// repeating cannot mend, or the deadline is over; it makes it once at least. Each
// distinct answer that it does not take is reported once.
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

// isFinal reports whether an error would be the same if one asked again: a pod's
// own word that the request cannot be served, or that it is committed.
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

// restAfter is how long to wait before the next request. If it is no pod that
// speaks, Retry-After counts with 429 only: an error page asks for minutes,
// while the next pod is there in seconds.
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
	if refused, ok := errors.AsType[*refusal](err); ok { // its details may differ each time
		what = fmt.Sprintf("%s answered %s", o.base.Host, what)
		key = fmt.Sprint(refused.Status, refused.Type)
	}
	if o.noted[key] {
		return
	}
	o.noted[key] = true
	progress{o.stderr}.clear()
	fmt.Fprintln(o.stderr, "api: asked again:", plain(what))
}
