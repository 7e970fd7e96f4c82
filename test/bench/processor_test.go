package main

import (
	"os"
	"runtime"
	"testing"
	"time"
)

// TestTwoWaysToCountAgree counts this process in both ways while it is busy.
func TestTwoWaysToCountAgree(t *testing.T) {
	if len(spentBy(os.Getpid())) == 0 {
		t.Skip("this kernel has no /proc/PID/task/TID/schedstat")
	}
	files, here := spentBy(os.Getpid()), spentHere()
	for until := time.Now().Add(200 * time.Millisecond); time.Now().Before(until); {
		runtime.Gosched()
	}
	one, other := spentBy(os.Getpid()).since(files), spentHere()-here
	if apart := (one - other).Abs(); one < 10*time.Millisecond || apart > one/2 {
		t.Errorf("by /proc %v, by getrusage %v", one, other)
	}
}
