package main

import (
	"fmt"
	"strings"
)

// ttl is the default of SETTINGS_TTL, in seconds.
const ttl = 10

// topology is pods on PostgreSQL, and levels of processes below them. Each process of
// the level above has this many followers.
type topology struct {
	pods   float64
	levels []float64
}

func (t topology) String() string {
	all := []string{number(t.pods) + " pods"}
	for _, n := range t.levels {
		all = append(all, number(n))
	}
	return strings.Join(all, " × ")
}

// line is a figure for each topology. From is the formula for it.
type line struct {
	What, From string
	Cells      []string
}

// lines are the costs of a change, and of waiting for one, in each topology.
func (c costs) lines(topologies []topology) []line {
	lines := []line{
		{What: "connections on PostgreSQL", From: "pods × A"},
		{What: "its memory for them", From: "pods × B"},
		{What: "memory for followers, in processes that pass on", From: "followers × L"},
		{What: "bytes a change, PostgreSQL", From: "pods × (C + D)"},
		{What: "bytes a change, below", From: "followers × M"},
		{What: "processes woken a change", From: "pods × 3 (a pod, its two backends) + followers"},
		{What: "processor time a change, PostgreSQL", From: "G"},
		{What: "… of all pods, passing on included", From: "H + followers × J"},
		{What: "… of all followers", From: "followers × K"},
		{What: "polls a second", From: "pods × E ÷ TTL"},
		{What: "PostgreSQL's cores that they keep busy", From: "pods × F ÷ TTL"},
		{What: "until the last has it, p50", From: "I + N of each level"},
	}
	for _, t := range topologies {
		for i, cell := range c.column(t) {
			lines[i].Cells = append(lines[i].Cells, cell)
		}
	}
	return lines
}

// column is one topology's cells, in the order of lines.
func (c costs) column(t topology) []string {
	pods, last := []amount{c.pods.at(t.pods)}, []amount{c.last.at(t.pods)}
	woken := []amount{{3 * t.pods, number(t.pods) + " × 3"}}
	var memory, bytes, followers []amount
	n := t.pods
	for _, fan := range t.levels {
		n *= fan
		woken = append(woken, amount{n, number(n)})
		pods = append(pods, times(n, c.passing.at(fan).value, inTime))
		followers = append(followers, times(n, c.following.at(fan).value, inTime))
		memory = append(memory, times(n, c.holding.at(fan).value, inMemory))
		bytes = append(bytes, times(n, c.followed, bytesOnWire))
		last = append(last, c.until.at(fan))
	}
	wire, queries, busy := t.pods*(c.notified+c.acknowledged), t.pods*c.queries/ttl, t.pods*c.database/1000/ttl
	cells := []string{
		sum(plain, times(t.pods, c.connections, plain)),
		sum(inMemory, times(t.pods, c.memory, inMemory)),
		sum(inMemory, memory...),
		sum(bytesOnWire, amount{wire, fmt.Sprintf("%s × (%s + %s) B", number(t.pods), number(c.notified), number(c.acknowledged))}),
		sum(bytesOnWire, bytes...),
		sum(plain, woken...),
		sum(inTime, c.server.at(t.pods)),
		sum(inTime, pods...),
		sum(inTime, followers...),
		sum(plain, amount{queries, fmt.Sprintf("%s × %s ÷ %d", number(t.pods), number(c.queries), ttl)}),
		sum(plain, amount{busy, fmt.Sprintf("%s × %s ÷ %d s", number(t.pods), in(c.database, inTime), ttl)}),
		sum(inTime, last...),
	}
	if t.pods > onPostgres[len(onPostgres)-1] {
		for i, cell := range cells {
			if cell != "" {
				cells[i] += " †"
			}
		}
	}
	if t.pods*c.connections > c.most {
		cells[0] += fmt.Sprintf(" **impossible**: `max_connections` is at most %s", number(c.most))
	}
	return cells
}
