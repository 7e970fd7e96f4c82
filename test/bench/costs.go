package main

import (
	"fmt"
	"strings"
)

// onPostgres and onLeader are the sizes that the calculation uses.
var (
	onPostgres = []float64{10, 100, 500, 1000}
	onLeader   = []float64{10, 100, 1000, 5000}
)

// costs are the measurements of one run, in KiB, bytes and ms.
type costs struct {
	connections, memory    float64 // of a pod
	notified, acknowledged float64 // bytes of a change, for a pod
	queries, database      float64 // of an idle pod in a TTL
	most                   float64 // connections
	server, pods, last     curve   // of a change, by pods on PostgreSQL
	passing, following     curve   // of a change, for one follower, by followers of one process
	holding, until         curve
	followed               float64 // bytes of a change, for a follower
	unregistered           float64 // of PostgreSQL for a change, with 100 pods that do not acknowledge
}

func readCosts(f *figures) (c costs) {
	for _, kind := range []string{"listener", "poller"} {
		of := f.in("connections", "of a pod", "connection", kind)
		c.connections += of
		c.memory += of * (f.in("connections", "private KiB", "connection", kind) + f.in("connections", "page tables", "connection", kind))
	}
	c.notified = f.in("connections", "bytes to the pod", "connection", "listener")
	c.acknowledged = f.in("connections", "bytes to the pod", "connection", "poller") + f.in("connections", "from the pod", "connection", "poller")
	c.queries = f.in("an idle fleet", "queries a TTL", "settings", 1000)
	c.database = f.in("an idle fleet", "database ms a TTL", "settings", 1000)
	c.most = f.in("limits", "most", "setting", "max_connections")
	c.followed = f.in("following", "bytes a change", "followers", 1000)

	ours := func(column string) curve {
		found := curve{sizes: onPostgres, units: inTime}
		for _, n := range onPostgres {
			found.values = append(found.values, f.in("propagation", column, "system", "ours", "watchers", n))
		}
		return found
	}
	c.server, c.pods, c.last = ours("server's"), ours("clients' CPU"), ours("last p50")
	c.unregistered = f.in("propagation", "server's", "system", "ours without register", "watchers", 100)
	streamed := func(column string, scale float64, units []unit) curve {
		found := curve{sizes: onLeader, units: units}
		for _, n := range onLeader {
			found.values = append(found.values, scale*f.in("following", column, "followers", n))
		}
		return found
	}
	const µs = 1e-3
	c.passing, c.following = streamed("server's CPU", µs, inTime), streamed("follower's", µs, inTime)
	c.holding, c.until = streamed("server's KiB", 1, inMemory), streamed("last p50", 1, inTime)
	return c
}

// table lists the costs as on the page.
func (c costs) table() []costRow {
	return []costRow{
		{"A", "connections of a pod", number(c.connections), "connections: of a pod, both rows"},
		{"B", "PostgreSQL's memory for a pod", in(c.memory, inMemory), "connections: private and page tables, both rows"},
		{"C", "bytes of a notification", number(c.notified), "connections: listener"},
		{"D", "bytes of an acknowledgement, both ways", number(c.acknowledged), "connections: poller"},
		{"E", "queries of an idle pod in a TTL", number(c.queries), "an idle fleet: 1,000 settings"},
		{"F", "their time in the database", in(c.database, inTime), "an idle fleet: 1,000 settings"},
		{"G", "processor time of PostgreSQL for a change, by pods on it", c.server.String(), "propagation: ours, server's"},
		{"H", "the same of all the pods together", c.pods.String(), "propagation: ours, clients' CPU"},
		{"I", "until the last pod has it, p50", c.last.String(), "propagation: ours, last p50"},
		{"J", "processor time to pass a change on, for each follower, by followers of one process", c.passing.String(), "following: server's CPU"},
		{"K", "the same of the follower", c.following.String(), "following: follower's"},
		{"L", "memory of the process that passes it on, for each follower", c.holding.String(), "following: server's KiB"},
		{"M", "bytes of a change, for each follower", number(c.followed), "following: bytes a change"},
		{"N", "until the last follower has it, p50", c.until.String(), "following: last p50"},
		{"O", "G without acknowledgements", "100: " + in(c.unregistered, inTime), "propagation: ours without register, server's"},
	}
}

// costRow is a cost with its letter, its figure and the row that it comes from.
type costRow struct{ Letter, What, Figure, Row string }

// curve is a figure measured at several sizes.
type curve struct {
	sizes, values []float64
	units         []unit
}

// at is the figure for a size. If that was not measured, it is on the line between the
// rows around it, or beyond the largest, on the line through the rows for 100 and for
// the largest.
func (c curve) at(n float64) amount {
	from := 0 // the largest row that is not larger
	for i, size := range c.sizes {
		if size <= n {
			from = i
		}
	}
	if c.sizes[from] == n {
		return amount{c.values[from], in(c.values[from], c.units)}
	}
	low, high := from, from+1
	if high == len(c.sizes) {
		low, high = 1, from
	}
	rise, run := c.values[high]-c.values[low], c.sizes[high]-c.sizes[low]
	return amount{
		c.values[from] + (n-c.sizes[from])*rise/run,
		fmt.Sprintf("%s + %s × (%s − %s) ÷ %s", in(c.values[from], c.units), number(n-c.sizes[from]),
			in(c.values[high], c.units), in(c.values[low], c.units), number(run)),
	}
}

func (c curve) String() string {
	var all []string
	for i, size := range c.sizes {
		all = append(all, number(size)+": "+in(c.values[i], c.units))
	}
	return strings.Join(all, " · ")
}
