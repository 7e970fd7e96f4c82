package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// spent is the processor time of threads, by their files in /proc. By thread,
// lest one that ended in between (an autovacuum's) counts as time given back.
type spent map[string]time.Duration

// spentBy is what a process and its children have spent, as Linux's scheduler
// counts it, in nanoseconds: a backend's share of a change is less than the tick
// of 10 ms that /proc/PID/stat counts in. It is empty where there is no such file.
func spentBy(process int) spent {
	s := spent{}
	for _, pid := range append(childrenOf(process), strconv.Itoa(process)) {
		files, _ := filepath.Glob("/proc/" + pid + "/task/*/schedstat") // the only error is a malformed pattern
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				continue // it ended
			}
			first, _, _ := strings.Cut(string(content), " ")
			if ns, err := strconv.ParseInt(first, 10, 64); err == nil {
				s[file] = time.Duration(ns)
			}
		}
	}
	return s
}

func (s spent) since(before spent) (sum time.Duration) {
	for thread, ns := range s {
		sum += ns - before[thread]
	}
	return sum
}

// childrenOf looks through all processes: not every kernel lists children.
func childrenOf(process int) (children []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	parent := []byte(strconv.Itoa(process))
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		// PID (name) state parent …; the name may hold anything.
		after := bytes.Fields(content[bytes.LastIndexByte(content, ')')+1:])
		if len(after) > 1 && bytes.Equal(after[1], parent) {
			children = append(children, filepath.Base(filepath.Dir(file)))
		}
	}
	return children
}

// spentHere is what this process has spent.
func spentHere() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage) // fails only for a wrong argument
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// spend has a contender run rounds alone, and keeps the processor time of a
// change, by this process with all its watchers and by the server; what follows
// a change until the system has settled is part of it. Alone, since in the race a
// server would pay for what it does by itself while others have their turn.
func (c *contender) spend(ctx context.Context, n, rounds int, value *int64) error {
	runtime.GC() // not to pay for what others left
	before, here := spentBy(c.process()), spentHere()
	for range rounds {
		*value++
		if err := c.round(ctx, n, *value, false); err != nil {
			return err
		}
		if err := c.settle(ctx); err != nil {
			return err
		}
	}
	c.clients, c.server = (spentHere()-here)/time.Duration(rounds), spentBy(c.process()).since(before)/time.Duration(rounds)
	return nil
}

// kilobytes is a figure "N kB" of a process in /proc.
func kilobytes(process int, file, name string) (kib float64, err error) {
	path := fmt.Sprintf("/proc/%d/%s", process, file)
	value := fieldOf(path, name)
	if _, err := fmt.Sscanf(value, "%f kB", &kib); err != nil {
		return 0, fmt.Errorf("%s of %s is %q: %w", name, path, value, err)
	}
	return kib, nil
}
