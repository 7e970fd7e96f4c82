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
	// glance is how long a pod may wait for the fleet before it tells how far it
	// is, for somebody may be watching.
	glance = time.Second
)

// operator is one run of a command that speaks to a pod.
type operator struct {
	*client
	stdout, stderr io.Writer
	wait           time.Duration
	asJSON         bool
}

// operate runs maintenance and fleet, and returns the exit code.
func operate(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	name, args := args[0], args[1:]
	if name == "maintenance" && len(args) > 0 {
		name, args = name+" "+args[0], args[1:]
	}
	o := &operator{stdout: stdout, stderr: stderr}
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
	if name != "maintenance status" {
		o.wait = defaultWait
		flags.Func("wait", fmt.Sprintf("how long to wait until every pod has it in force, such as 5s or 2m; 0: do not wait (default %v)", defaultWait), o.setWait)
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return exitUsage
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "api %s: does not understand %q\n", name, flags.Args())
		return exitUsage
	}
	c, err := readClientConfig(environment())
	if err != nil {
		return o.fail(err)
	}
	o.client = newClient(c)
	return run(ctx)
}

func (o *operator) setWait(s string) (err error) {
	if _, plain := strconv.Atoi(s); plain == nil {
		s += "s"
	}
	o.wait, err = time.ParseDuration(s)
	if err != nil || o.wait < 0 {
		return errors.New("not a length of time")
	}
	return nil
}

func text(change map[string]any, field string) func(string) error {
	return func(s string) error { change[field] = s; return nil }
}

// change makes a change of the maintenance, and waits for the fleet.
func (o *operator) change(ctx context.Context, change map[string]any) int {
	var done writeReport
	err := o.call(ctx, http.MethodPut, "api/v1/admin/maintenance", nil, 0, change, &done)
	refused, answered := errors.AsType[*refusal](err)
	switch {
	case err == nil:
	case answered && refused.Revision > 0: // committed, but that pod could not confirm
		done.Revision = refused.Revision
		fmt.Fprintln(o.stderr, "api:", refused)
	case answered:
		return o.fail(err)
	default:
		return o.fail(fmt.Errorf("it is not known whether the change was made: %w; it is safe to repeat", err))
	}
	if done.Fleet, err = o.await(ctx, done.Revision); err != nil {
		done.Fleet.Unknown = err.Error()
	}
	done.Fleet.Revision = done.Revision
	state := "off"
	if change["enabled"] == true {
		state = "on"
	}
	return o.conclude(fmt.Sprintf("maintenance is %s as of", state), done, done.Fleet)
}

// status prints the maintenance of one pod, which needs no token.
func (o *operator) status(ctx context.Context) int {
	var m maintenanceReport
	if err := o.call(ctx, http.MethodGet, "api/v1/maintenance", nil, 0, nil, &m); err != nil {
		return o.fail(err)
	}
	if o.asJSON {
		o.print(m)
	} else {
		fmt.Fprintln(o.stdout, m)
	}
	return 0
}

// fleet prints who has a revision in force.
func (o *operator) fleet(ctx context.Context, revision int64) int {
	fleet, err := o.await(ctx, revision)
	if err != nil {
		return o.fail(err)
	}
	return o.conclude("in force:", fleet, fleet)
}

// await asks until no pod is behind or the wait is over. Lost pods are not waited
// for. A pod that cannot answer just now is asked again; if none ever does, that
// is the error.
func (o *operator) await(ctx context.Context, revision int64) (fleetReport, error) {
	query := url.Values{}
	if revision > 0 {
		query.Set("revision", strconv.FormatInt(revision, 10))
	}
	progress := progress{o.stderr}
	defer progress.clear()
	var last fleetReport
	known := false
	deadline := time.Now().Add(o.wait)
	for {
		var now fleetReport
		err := o.call(ctx, http.MethodGet, "api/v1/admin/fleet", query, min(glance, time.Until(deadline)), nil, &now)
		refused, answered := errors.AsType[*refusal](err)
		if err == nil {
			last, known = now, true
			progress.show(now)
		}
		if err == nil && len(now.Behind) == 0 || answered && refused.Status < 500 || errors.Is(err, errNoPod) || ctx.Err() != nil || time.Now().After(deadline) {
			if known {
				err = nil
			}
			return last, err
		}
		if err != nil {
			select {
			case <-time.After(glance / 4):
			case <-ctx.Done():
			}
		}
	}
}

// conclude prints the answer, names who has not got it, and makes that the exit
// code.
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
	fmt.Fprintln(o.stderr, "api:", err)
	return 1
}
