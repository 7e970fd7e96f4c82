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

// spent is the processor time of each thread, by its file in /proc. A sum would shrink
// when a thread ends, such as an autovacuum's.
type spent map[string]time.Duration

// spentBy is what a process and its children have spent, as Linux's scheduler counts it,
// in nanoseconds. /proc/PID/stat counts in ticks of 10 ms, and a backend spends less
// than that on a change. It is empty if there is no such file.
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

// childrenOf looks through all processes, because not every kernel lists children.
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
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage) // fails only with a wrong argument
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// spend runs rounds of one contender alone, and records the processor time of a change:
// of this process with all its watchers, and of the server. It includes the work after
// a change until the system has settled. The contender runs alone, because in the race
// a server's background work during the others' turns would be counted too.
func (c *contender) spend(ctx context.Context, n, rounds int, value *int64) error {
	runtime.GC() // so that this contender does not pay for the garbage of others
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

// kilobytes reads a figure "N kB" of a process from /proc.
func kilobytes(process int, file, name string) (kib float64, err error) {
	path := fmt.Sprintf("/proc/%d/%s", process, file)
	value := fieldOf(path, name)
	if _, err := fmt.Sscanf(value, "%f kB", &kib); err != nil {
		return 0, fmt.Errorf("%s of %s is %q: %w", name, path, value, err)
	}
	return kib, nil
}
