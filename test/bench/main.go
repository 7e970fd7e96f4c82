// Command bench measures what this project claims about speed, and compares it with
// the alternatives in the same run on the same machine. `make bench` runs it.
// docs/benchmarks.md shows the last run and how to read it.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"time"
)

// maxWatchers is the most watchers that a system gets.
const maxWatchers = 1000

// options say how much to measure.
type options struct {
	quick    bool
	watchers []int
	warmUp   int
	rounds   int
	pollTTL  time.Duration
	systems  []string // of propagation; empty: all
	measure  time.Duration
	say      func(format string, args ...any)
}

// parts are what can be measured, in the order of running. Parts that need an idle
// process come first.
var parts = []struct {
	name string
	run  func(context.Context, *report, options) error
}{
	{"reading", reading},
	{"gate", gating},
	{"propagation", propagation},
	{"polling", polling},
	{"writes", writing},
	{"waiting", waiting},
	{"recovery", recovery},
	{"following", following},
	{"connections", connections},
	{"idle", idling},
	{"startup", starting},
	{"crowd", crowding},
}

// guarding is the part that only `make bench-check` runs.
const guarding = "check"

func main() {
	if len(os.Args) == 4 && os.Args[1] == "serve" {
		if err := serve(os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	quick := flags.Bool("quick", false, "a minute instead of ten: fewer rounds, up to 100 watchers")
	only := flags.String("only", "", "parts to run, comma-separated: "+strings.Join(names(), ","))
	systems := flags.String("systems", "", "systems to compare in propagation, comma-separated (default: all)")
	watchers := flags.String("watchers", "", "numbers of watchers, comma-separated")
	rounds := flags.Int("rounds", 0, "rounds of propagation")
	profile := flags.String("cpuprofile", "", "file for a CPU profile of this process")
	file := flags.String("json", "", "file for the JSON")
	growthFile := flags.String("grow", "", "measure nothing: write the page on growth to this file, from the JSON in -json (default: last.json)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *growthFile != "" {
		return grow(cmp.Or(*file, "last.json"), *growthFile)
	}
	o := options{
		quick: *quick, watchers: []int{1, 10, 100, 500, 1000}, warmUp: 20, rounds: 200, pollTTL: 10 * time.Second, measure: 2 * time.Second,
		say: func(format string, args ...any) {
			fmt.Fprintf(os.Stderr, "%s "+format+"\n", append([]any{time.Now().Format(time.TimeOnly)}, args...)...)
		},
	}
	if *quick {
		o.watchers, o.warmUp, o.rounds, o.pollTTL, o.measure = []int{1, 10, 100}, 5, 40, 2*time.Second, 300*time.Millisecond
	}
	if *rounds != 0 {
		o.rounds = *rounds
	}
	o.systems = list(*systems)
	if *watchers != "" {
		o.watchers = nil
		for _, s := range list(*watchers) {
			var n int
			if _, err := fmt.Sscan(s, &n); err != nil || n < 1 || n > maxWatchers {
				return fmt.Errorf("-watchers %q: want numbers from 1 to %d", *watchers, maxWatchers)
			}
			o.watchers = append(o.watchers, n)
		}
		slices.Sort(o.watchers)
	}
	for _, name := range list(*only) {
		if name != guarding && !slices.Contains(names(), name) {
			return fmt.Errorf("-only %q: the parts are %s", name, strings.Join(names(), ", "))
		}
	}

	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	r := newReport(os.Stdout)
	if *only == guarding {
		if err := check(ctx, r, o); err != nil {
			return err
		}
		r.print()
		return nil
	}
	began := time.Now()
	for _, part := range parts {
		if *only != "" && !slices.Contains(list(*only), part.name) {
			continue
		}
		o.say("%s", part.name)
		if err := part.run(ctx, r, o); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	r.Seconds = round(time.Since(began).Seconds(), 1)
	r.print()
	if *file != "" {
		return r.save(*file)
	}
	return nil
}

func names() (all []string) {
	for _, part := range parts {
		all = append(all, part.name)
	}
	return all
}

// list splits at commas. An empty text is an empty list.
func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}
