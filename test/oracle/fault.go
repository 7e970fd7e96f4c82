package oracle

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// fault is something that goes wrong for a while.
type fault struct {
	at, hold time.Duration // when it begins, since the round began, and how long it lasts
	kind     kind
	amount   int // which of several backends, or how slow
}

type kind string

// The faults of one pod.
const (
	cut     kind = "cut"     // its connections are reset
	refused kind = "refused" // the same, and it gets no new ones
	dark    kind = "dark"    // no byte passes between it and the database
	deaf    kind = "deaf"    // no byte from the database reaches it
	hiccup  kind = "hiccup"  // dark for some milliseconds, again and again
	slow    kind = "slow"    // bytes take longer
	backend kind = "backend" // one of its backends is terminated
	stopped kind = "stopped" // SIGSTOP, and SIGCONT at the end
	killed  kind = "killed"  // SIGKILL, and a new process at the end
)

// The faults of the server.
const (
	restarted kind = "server restarted" // a fast shutdown, and a start
	crashed   kind = "server killed"    // SIGKILL to the postmaster, and a start
	writer    kind = "writer"           // the backend of one of the SQL writers is terminated
)

func (f fault) String() string {
	return fmt.Sprintf("%v %s for %v (%d)", f.at, f.kind, f.hold, f.amount)
}

// curtain is how long before the round's end the last faults begin. Whatever is
// committed after that has to reach every pod although no pod hears it, and no later
// commit shows the gap.
const curtain = 400 * time.Millisecond

// planPod draws what happens to one pod in a round.
func planPod(rng *rand.Rand, round time.Duration) (faults []fault) {
	ms := func(least, most int) time.Duration {
		return time.Duration(least+rng.IntN(most-least)) * time.Millisecond
	}
	draw := func(at time.Duration) fault {
		f := fault{at: at, amount: rng.IntN(1000)}
		switch n := rng.IntN(100); {
		case n < 15:
			f.kind, f.hold = cut, ms(1, 100)
		case n < 25:
			f.kind, f.hold = refused, ms(100, 1500)
		case n < 38:
			f.kind, f.hold = dark, ms(50, 1500)
		case n < 48:
			f.kind, f.hold = deaf, ms(50, 1500)
		case n < 58:
			f.kind, f.hold = hiccup, ms(100, 1000)
		case n < 66:
			f.kind, f.hold = slow, ms(100, 1000)
		case n < 82:
			f.kind, f.hold = backend, ms(1, 100)
		case n < 92:
			f.kind, f.hold = stopped, ms(20, 1200)
		default:
			f.kind, f.hold = killed, ms(1, 800)
		}
		return f
	}
	last := draw(round - curtain)
	last.hold = curtain + ms(1, 50)
	if rng.IntN(2) == 0 { // else nothing would keep the pod from hearing the last commits
		last.kind = refused
	}
	for at := ms(0, 600); ; {
		f := draw(at)
		at += f.hold + ms(50, 900)
		if at >= last.at {
			return append(faults, last)
		}
		faults = append(faults, f)
	}
}

// planServer draws what happens to the server and to the SQL writers.
func planServer(rng *rand.Rand, round time.Duration) (faults []fault) {
	at := time.Duration(500+rng.IntN(1500)) * time.Millisecond
	for at < round-curtain-time.Second {
		f := fault{at: at, kind: writer, amount: rng.IntN(1000)}
		switch n := rng.IntN(100); {
		case n < 12:
			f.kind = restarted
		case n < 30:
			f.kind, f.hold = crashed, time.Duration(rng.IntN(500))*time.Millisecond
		}
		faults = append(faults, f)
		at += f.hold + time.Duration(200+rng.IntN(1200))*time.Millisecond
	}
	return faults
}
