package oracle

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"platform-settings/test/pgtest"
	"platform-settings/test/pod"
)

var (
	length  = flag.Duration("for", 10*time.Second, "how long the oracle's rounds take together")
	oneSeed = flag.Uint64("seed", 0, "of the first round, the next ones count up; 0: a random one")
)

// mostRound is the longest round. A lost commit shows at the end of a round, when the
// pods are cut off, so many short rounds find more than a few long ones.
const mostRound = 15 * time.Second

func TestMain(m *testing.M) {
	code := pgtest.Main(m)
	pod.Clean()
	os.Exit(code)
}

func TestEveryStateServedWasTheTableAsOfItsRevision(t *testing.T) {
	seed := *oneSeed
	if seed == 0 {
		seed = rand.Uint64N(1e9) + 1
	}
	for left := *length; left > 0 && !t.Failed(); left -= mostRound {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			round := min(left, mostRound)
			t.Logf("%v: %s", round, Round(t, seed, round))
		})
		seed++
	}
}
