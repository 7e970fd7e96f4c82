package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Exit codes besides 0 and 1.
const (
	exitUsage      = 2
	exitStragglers = 3 // committed, but some pod may not have it in force
)

const (
	defaultWait = 30 * time.Second
	// glance is how long one request waits for the fleet. It is short so that the
	// progress line stays current.
	glance = time.Second
)

// operator is one run of a command that talks to a pod.
type operator struct {
	*client
	stdout, stderr io.Writer
	wait           time.Duration
	asJSON         bool
	insecure       bool
	noted          map[string]bool // the reasons for retrying that stderr has already
}

// operate runs maintenance and fleet, and returns the exit code.
func operate(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	name, args := args[0], args[1:]
	if name == "maintenance" && len(args) > 0 {
		name, args = name+" "+args[0], args[1:]
	}
	o := &operator{stdout: stdout, stderr: stderr, noted: map[string]bool{}}
	flags := flag.NewFlagSet("api "+name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.BoolVar(&o.asJSON, "json", false, "print JSON")
	var change map[string]any
	var revision int64
	var run func(context.Context) int
	switch name {
	case "maintenance on":
		change = map[string]any{"enabled": true}
		flags.Func("message", "what clients are told", text(change, "message"))
		flags.BoolFunc("read-only", "let GET, HEAD and OPTIONS through", func(string) error { change["read_only"] = true; return nil })
		run = func(ctx context.Context) int { return o.change(ctx, change) }
	case "maintenance off":
		change = map[string]any{"enabled": false}
		run = func(ctx context.Context) int { return o.change(ctx, change) }
	case "maintenance status":
		run = o.status
	case "fleet":
		flags.Int64Var(&revision, "revision", 0, "report on this revision (default: the last one)")
		run = func(ctx context.Context) int { return o.fleet(ctx, revision) }
	default:
		fmt.Fprintf(stderr, "api: unknown command %q; see api help\n", name)
		return exitUsage
	}
	if change != nil {
		flags.Func("reason", "why, for the history", text(change, "reason"))
	}
	public := name == "maintenance status"
	if !public {
		o.wait = defaultWait
		flags.Func("wait", fmt.Sprintf("how long to retry until a pod answers, and then to wait until every pod has the revision in force, such as 5s or 2m; 0: try once, and do not wait (default %v)", defaultWait), o.setWait)
		flags.BoolVar(&o.insecure, "insecure", false, "send API_TOKEN over plain http even to other machines")
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return exitUsage
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "api %s: unexpected arguments %q\n", name, flags.Args())
		return exitUsage
	}
	c, err := parse[clientConfig](environment())
	if err != nil {
		return o.fail(err)
	}
	if public {
		c.APIToken = "" // it needs none, so it sends none
	}
	if o.client, err = newClient(c, o.insecure); err != nil {
		return o.fail(err)
	}
	return run(ctx)
}

func (o *operator) setWait(s string) (err error) {
	if _, plain := strconv.Atoi(s); plain == nil {
		s += "s"
	}
	o.wait, err = time.ParseDuration(s)
	if err != nil || o.wait < 0 {
		return errors.New("not a duration such as 5s or 2m")
	}
	return nil
}

func text(change map[string]any, field string) func(string) error {
	return func(s string) error { change[field] = s; return nil }
}

// change changes the maintenance, and waits for the fleet. It is safe to retry,
// because making the same change twice changes nothing the second time.
func (o *operator) change(ctx context.Context, change map[string]any) int {
	var done writeReport
	began := time.Now()
	unclear := false // an attempt may have made the change
	err := o.again(ctx, began.Add(o.wait), func() error {
		done = writeReport{}
		left := time.Until(began.Add(max(o.wait, requestTimeout)))
		err := o.call(ctx, request{
			method: http.MethodPut, path: "api/v1/admin/maintenance", body: change,
			timeout: max(answerTimeout, min(requestTimeout, left)),
		}, &done)
		unclear = unclear || mayHaveWritten(err)
		return err
	})
	refused, answered := errors.AsType[*refusal](err)
	switch {
	case err == nil:
	case answered && refused.Revision > 0: // committed, but the pod could not confirm it
		done.Revision = refused.Revision
		fmt.Fprintln(o.stderr, "api:", plain(refused.Error()))
	case unclear:
		return o.fail(fmt.Errorf("it is not known whether the change was made: %w; it is safe to repeat", err))
	case answered || errors.Is(err, errClearText):
		return o.fail(err)
	default:
		return o.fail(fmt.Errorf("nothing was changed: %w; it is safe to repeat", err))
	}
	fleet, err := o.await(ctx, done.Revision)
	if err != nil {
		fleet.Unknown = err.Error()
	}
	fleet.Revision = done.Revision
	done.Fleet = fleet.Fleet
	state := "off"
	if change["enabled"] == true {
		state = "on"
	}
	return o.conclude(fmt.Sprintf("maintenance is %s as of", state), done, fleet)
}

// status prints the maintenance of one pod.
func (o *operator) status(ctx context.Context) int {
	var m maintenanceReport
	if err := o.call(ctx, request{method: http.MethodGet, path: "api/v1/maintenance", timeout: requestTimeout}, &m); err != nil {
		return o.fail(err)
	}
	if o.asJSON {
		o.print(m)
	} else {
		fmt.Fprintln(o.stdout, m)
	}
	return 0
}

// fleet prints which pods have a revision in force.
func (o *operator) fleet(ctx context.Context, revision int64) int {
	fleet, err := o.await(ctx, revision)
	if err != nil {
		return o.fail(err)
	}
	return o.conclude("in force:", fleet, fleet)
}

// await asks until no pod is behind, or until the wait is over. It does not wait
// for lost pods. If no pod ever answers, it returns the last attempt's error.
func (o *operator) await(ctx context.Context, revision int64) (fleetReport, error) {
	ask := request{method: http.MethodGet, path: "api/v1/admin/fleet", query: url.Values{}}
	if revision > 0 {
		ask.query.Set("revision", strconv.FormatInt(revision, 10))
	}
	progress := progress{o.stderr}
	defer progress.clear()
	var last fleetReport
	deadline := time.Now().Add(o.wait)
	for {
		began := time.Now()
		var now fleetReport
		err := o.again(ctx, deadline, func() error {
			now = fleetReport{}
			left := time.Until(deadline)
			ask.wait = max(0, min(glance, left))
			ask.timeout = glance + answerTimeout
			// Give up on a silent pod early enough to ask another one.
			if left >= 3*glance {
				ask.timeout = min(ask.timeout, left-glance)
			}
			return o.call(ctx, ask, &now)
		})
		switch {
		case err == nil:
			last = now
			progress.show(now)
		case last.whole(): // an earlier report is better than none
			progress.clear()
			fmt.Fprintln(o.stderr, "api: this is an earlier report, because the last request failed:", plain(err.Error()))
			return last, nil
		default:
			return last, err
		}
		if len(now.Behind) == 0 || time.Until(deadline) <= 0 || ctx.Err() != nil {
			return last, nil
		}
		rest(ctx, leastRest-time.Since(began)) // a pod that is stopping answers at once
	}
}

// conclude prints the answer, names the pods that may not have the revision, and
// returns the exit code.
func (o *operator) conclude(what string, answer any, f fleetReport) int {
	if o.asJSON {
		o.print(answer)
	} else {
		fmt.Fprintf(o.stdout, "%s revision %d: %s\n", what, f.Revision, f.summary())
		f.table(o.stdout)
	}
	if f.Converged {
		return 0
	}
	fmt.Fprintf(o.stderr, "api: revision %d is committed, but not known to be in force everywhere: %s\n", f.Revision, f.stragglers())
	return exitStragglers
}

func (o *operator) print(v any) {
	encoder := json.NewEncoder(o.stdout)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(v)
}

func (o *operator) fail(err error) int {
	fmt.Fprintln(o.stderr, "api:", plain(err.Error()))
	return 1
}
