package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"text/template"
)

//go:embed growth.md.tmpl
var growthPage string

// grow writes the page that extrapolates the costs of a run to sizes that were not
// measured. It fails if the run lacks a figure that the page needs.
func grow(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	run := &report{}
	if err := json.Unmarshal(content, run); err != nil {
		return fmt.Errorf("read %s: %w", from, err)
	}
	f := &figures{run: run}
	c := readCosts(f)
	if len(f.missing) > 0 {
		return fmt.Errorf("%s lacks figures that the page needs; run a whole `make bench`:\n%w", from, errors.Join(f.missing...))
	}
	page, err := template.New("growth").Parse(growthPage)
	if err != nil {
		return err
	}
	var out strings.Builder
	if err := page.Execute(&out, newGrowth(run, c)); err != nil {
		return err
	}
	return os.WriteFile(to, []byte(out.String()), 0o644)
}

// growth is the data of the page.
type growth struct {
	Run        *report
	Costs      []costRow
	Sizes      []sized
	FanOut     string // the most followers of one process that were measured
	Straight   straightness
	Conclusion conclusion
}

// sized is a number of readers, by topology.
type sized struct {
	Readers    string
	Topologies []topology
	Lines      []line
}

// straightness compares the time until the last pod with the line that extrapolates it,
// at 500 pods.
type straightness struct {
	Line, Measured string
	Faster         bool
}

// conclusion is at how many pods each limit of PostgreSQL is reached, and what the
// measured sizes cost.
type conclusion struct {
	From, Slow, Full, Polled, Refused string
	At100, At1000                     struct{ Last, Server, Memory string }
	Unregistered, Tier100, Tier1000   string
	Beyond                            bool // From is beyond what was measured
}

// The limits on which the conclusion is based.
const (
	slow = 250      // ms: what the design allows 5,000 followers of a pod's stream
	full = 16 << 20 // KiB of PostgreSQL's memory, for connections alone
)

func newGrowth(run *report, c costs) *growth {
	g := &growth{Run: run, Costs: c.table(), FanOut: number(onLeader[len(onLeader)-1])}
	// All sizes have rows, except for 200 pods. With fewer pods, a million readers would
	// be more followers for each pod than were measured.
	for _, s := range []struct {
		readers    float64
		topologies []topology
	}{
		{10_000, []topology{{10_000, nil}, {10, []float64{1000}}, {10, []float64{10, 100}}}},
		{1_000_000, []topology{{1_000_000, nil}, {200, []float64{5000}}, {10, []float64{100, 1000}}}},
	} {
		g.Sizes = append(g.Sizes, sized{number(s.readers), s.topologies, c.lines(s.topologies)})
	}

	last := func(n float64) float64 { return c.last.at(n).value }
	line := last(100) + 400*(last(1000)-last(100))/900
	g.Straight = straightness{in(line, inTime), in(last(500), inTime), last(500) < line}

	patient := 100.0
	for last(patient) <= slow && patient < 1e6 {
		patient += 100
	}
	held, polled := hundreds(full/c.memory), hundreds(ttl*1000/c.database)
	k := &g.Conclusion
	k.From, k.Slow, k.Full, k.Polled = number(min(patient, held, polled)), number(patient), number(held), number(polled)
	k.Beyond = min(patient, held, polled) > onPostgres[len(onPostgres)-1]
	k.Unregistered = in(c.unregistered, inTime)
	k.Refused = number(hundreds(c.most / c.connections))
	k.At100.Last, k.At1000.Last = in(last(100), inTime), in(last(1000), inTime)
	k.At100.Server, k.At1000.Server = in(c.server.at(100).value, inTime), in(c.server.at(1000).value, inTime)
	k.At100.Memory, k.At1000.Memory = in(100*c.memory, inMemory), in(1000*c.memory, inMemory)
	k.Tier100, k.Tier1000 = in(last(10)+c.until.at(10).value, inTime), in(last(10)+c.until.at(100).value, inTime)
	return g
}

func hundreds(x float64) float64 { return math.Floor(x/100) * 100 }
