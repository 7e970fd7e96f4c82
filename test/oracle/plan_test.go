package oracle

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestTheSameSeedMakesTheSameSchedule(t *testing.T) {
	schedule := func(seed uint64) string {
		var text strings.Builder
		requests, transactions := stream(seed, streamHTTP), stream(seed, streamSQL)
		for n := range 200 {
			fmt.Fprintf(&text, "%+v\n", planRequest(requests, fmt.Sprint("h", n), pods))
			fmt.Fprintf(&text, "%+v\n", planTransaction(transactions, fmt.Sprint("s", n)))
		}
		for _, faults := range [][]fault{
			planPod(stream(seed, streamPod), time.Minute), planServer(stream(seed, streamServer), time.Minute),
		} {
			fmt.Fprintln(&text, faults)
		}
		return text.String()
	}
	first := schedule(1)
	if again := schedule(1); again != first {
		t.Error("one seed made two schedules")
	}
	if schedule(2) == first {
		t.Error("two seeds made one schedule")
	}
}

func TestFaultsComeInTheirOrderAndEndWithTheRound(t *testing.T) {
	for seed := range uint64(100) {
		for _, round := range []time.Duration{time.Second, mostRound} {
			over := time.Duration(0)
			faults := planPod(stream(seed, streamPod), round)
			for _, f := range faults {
				if f.at < over {
					t.Fatalf("seed %d: %v begins before the one before it is over", seed, f)
				}
				over = f.at
				if f != faults[len(faults)-1] {
					over += f.hold
				}
			}
			if last := faults[len(faults)-1]; last.at != round-curtain || last.at+last.hold < round {
				t.Errorf("seed %d: the last fault of %v is %v", seed, round, last)
			}
		}
	}
}
