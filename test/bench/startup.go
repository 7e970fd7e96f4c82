package main

import (
	"context"
	"os"
)

// starting measures a pod as a process: how long until it is ready, how large its
// binary is, and how much memory it uses when idle.
func starting(ctx context.Context, r *report, o options) error {
	binary, remove, err := buildPod(ctx)
	if err != nil {
		return err
	}
	defer remove()
	size, err := os.Stat(binary)
	if err != nil {
		return err
	}
	server, err := startPostgres(ctx, 50, nil)
	if err != nil {
		return err
	}
	defer stopPostgres(server)
	url, err := migrated(ctx, server)
	if err != nil {
		return err
	}
	starts := 20
	if o.quick {
		starts = 5
	}
	var ready, live sample
	var memory float64
	for range starts {
		p, err := startProcess(ctx, binary, url)
		if err != nil {
			return err
		}
		ready, live = append(ready, p.ready), append(live, p.live)
		memory, err = p.resident()
		p.stop()
		if err != nil {
			return err
		}
	}
	s := r.section("a pod as a process", "From the start of the process until /readyz answers 200, and until its listener is live; database up, schema up to date.",
		"what", "p50", "max", "unit", "times")
	s.row("start to ready", milliseconds(ready.p50()), milliseconds(ready.max()), "ms", len(ready))
	s.row("start to live", milliseconds(live.p50()), milliseconds(live.max()), "ms", len(live))
	s.row("memory when idle (RSS)", round(memory, 1), "", "MiB", 1)
	s.row("binary", round(float64(size.Size())/(1<<20), 1), "", "MiB", 1)
	r.reach("start to ready, database up", 300, milliseconds(ready.p50()), "ms, p50")
	return nil
}
