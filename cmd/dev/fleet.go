package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"platform-settings/internal/pgserver"
)

// redrawInterval is how often the view is redrawn.
const redrawInterval = 50 * time.Millisecond

// fleet is what is known of the pods. Only watch writes it.
type fleet struct {
	pods []*pod
	last []sight // by pod

	// revision is the newest one seen. Of a burst of commits, only the last is
	// reported.
	revision int64
	since    []time.Time // by pod: first seen with it; nil: it was there at the start
	told     bool        // every pod that answers has it
}

// newFleet waits until all pods are ready.
func newFleet(ctx context.Context, pods []*pod) (*fleet, error) {
	f := &fleet{pods: pods, told: true}
	for _, p := range pods {
		s, err := p.awaitReady(ctx)
		if err != nil {
			return nil, err
		}
		f.last = append(f.last, s)
		f.revision = max(f.revision, s.ready.Revision)
	}
	return f, nil
}

// watch polls the pods and shows them until ctx ends.
func (f *fleet) watch(ctx context.Context, server *pgserver.Server, screen *screen) {
	type report struct {
		pod   int
		sight sight
	}
	reports := make(chan report)
	var polling sync.WaitGroup
	defer polling.Wait()
	for i, p := range f.pods {
		first := f.last[i]
		polling.Go(func() {
			for s := range p.sights(ctx, first) {
				select {
				case reports <- report{i, s}:
				case <-ctx.Done():
				}
			}
		})
	}

	redraw := time.NewTicker(redrawInterval)
	defer redraw.Stop()
	serverUp := true
	for {
		select {
		case r := <-reports:
			if r.sight.ended {
				p := f.pods[r.pod]
				screen.say(fmt.Sprintf("%s has ended: %v; its log ends:\n%s", p.name, r.sight.err, p.logTail()))
			}
			if f.see(r.pod, r.sight) && !screen.terminal { // in a terminal, the frame shows it
				screen.say(f.change())
			}
		case <-redraw.C:
			if serverUp && server.PID() == 0 {
				serverUp = false
				screen.say("PostgreSQL has ended; its log ends:\n" + server.LogTail())
			}
			screen.draw(f.frame())
		case <-ctx.Done():
			screen.leave()
			return
		}
	}
}

// see records what was seen of a pod. It returns true once for each revision: when
// all pods that answer have it.
func (f *fleet) see(pod int, s sight) bool {
	f.last[pod] = s
	if s.err == nil && s.ready.Revision > f.revision {
		f.revision, f.told = s.ready.Revision, false
		f.since = make([]time.Time, len(f.pods))
	}
	if s.err == nil && s.ready.Revision == f.revision && f.since != nil && f.since[pod].IsZero() {
		f.since[pod] = s.at
	}
	if f.told {
		return false
	}
	for i, s := range f.last {
		if s.err == nil && f.since[i].IsZero() {
			return false
		}
	}
	f.told = true
	return true
}

// change reports which pods have the newest revision, and how long it took from the
// first pod to the last, as far as polling can tell.
func (f *fleet) change() string {
	var on, missing []string
	var first, last time.Time
	for i, p := range f.pods {
		at := f.since[i]
		if at.IsZero() {
			missing = append(missing, p.name)
			continue
		}
		on = append(on, p.name)
		if first.IsZero() || at.Before(first) {
			first = at
		}
		if at.After(last) {
			last = at
		}
	}
	// A pod may have had it up to one poll earlier than seen.
	text := fmt.Sprintf("revision %d: on %s within %d ms, as seen by polling every %d ms",
		f.revision, strings.Join(on, ", "), (last.Sub(first) + pollInterval).Milliseconds(), pollInterval.Milliseconds())
	if missing != nil {
		text += "; not on " + strings.Join(missing, ", ")
	}
	return text
}

// frame is the view in a terminal.
func (f *fleet) frame() []string {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "POD\tADDRESS\tGET /\tREVISION\tSOURCE\tLISTENER\tAGE")
	var problems []string
	for i, p := range f.pods {
		s := f.last[i]
		if s.err != nil {
			answer := "no answer"
			if s.ended {
				answer = "down"
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t\t\t\t\n", p.name, p.url, answer)
			problems = append(problems, p.name+": "+s.err.Error())
			continue
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\t%s\t%.0f s\n", p.name, p.url, answerText(s.answer),
			s.ready.Revision, s.ready.Source, s.ready.Listener, s.ready.Age)
		for _, problem := range s.ready.Problems {
			problems = append(problems, p.name+": "+problem)
		}
	}
	_ = table.Flush() // a strings.Builder never fails
	lines := strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
	if f.since != nil {
		lines = append(lines, f.change())
	}
	return append(lines, problems...)
}

func answerText(status int) string {
	switch status {
	case http.StatusOK:
		return "200 open"
	case http.StatusServiceUnavailable:
		return "503 maintenance"
	}
	return fmt.Sprintf("%d %s", status, http.StatusText(status))
}
