package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"text/tabwriter"
	"time"

	"platform-settings/internal/pgserver"
)

// report is one run: what it ran on, and every row that it measured.
type report struct {
	Began    time.Time  `json:"began"`
	Seconds  float64    `json:"seconds"`
	Commit   string     `json:"commit"`
	Machine  machine    `json:"machine"`
	Versions []string   `json:"versions"`
	Command  []string   `json:"command"`
	Sections []*section `json:"sections"`
	Goals    []goal     `json:"goals"`
	Skipped  []string   `json:"skipped"`

	out io.Writer
}

// section is one table: labels first, then figures, each column with its unit.
type section struct {
	Name     string   `json:"name"`
	Measures string   `json:"measures"`
	Columns  []string `json:"columns"`
	Rows     [][]any  `json:"rows"`
}

// goal is one of the design's targets, and what this run measured.
type goal struct {
	What     string  `json:"what"`
	Reach    float64 `json:"reach"`
	Measured float64 `json:"measured"`
	Unit     string  `json:"unit"`
	Reached  bool    `json:"reached"`
}

type machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory string `json:"memory"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
	Load   string `json:"load_at_start"`
}

func newReport(out io.Writer) *report {
	return &report{
		Began: time.Now().UTC().Truncate(time.Second), Commit: output("git", "rev-parse", "--short=12", "HEAD"),
		Machine: thisMachine(), Versions: versions(), Command: os.Args, Sections: []*section{}, Goals: []goal{}, Skipped: []string{}, out: out,
	}
}

// section begins a table; measures is its caption.
func (r *report) section(name, measures string, columns ...string) *section {
	s := &section{Name: name, Measures: measures, Columns: columns, Rows: [][]any{}}
	r.Sections = append(r.Sections, s)
	return s
}

func (s *section) row(cells ...any) { s.Rows = append(s.Rows, cells) }

// reach records a goal: at most this much.
func (r *report) reach(what string, most, measured float64, unit string) {
	r.Goals = append(r.Goals, goal{what, most, measured, unit, measured <= most})
}

// skip records what could not be measured, and why.
func (r *report) skip(format string, args ...any) {
	r.Skipped = append(r.Skipped, fmt.Sprintf(format, args...))
}

// print writes the tables.
func (r *report) print() {
	w := tabwriter.NewWriter(r.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(r.out, "%s, %d cores, %s, Linux %s, %s; load at the start %s; commit %s; %.0f s\n",
		r.Machine.CPU, r.Machine.Cores, r.Machine.Memory, r.Machine.Kernel, r.Machine.Go, r.Machine.Load, r.Commit, r.Seconds)
	for _, s := range r.Sections {
		fmt.Fprintf(r.out, "\n%s\n%s\n", strings.ToUpper(s.Name), s.Measures)
		fmt.Fprintln(w, strings.Join(s.Columns, "\t")+"\t")
		for _, row := range s.Rows {
			for _, cell := range row {
				fmt.Fprintf(w, "%v\t", cell)
			}
			fmt.Fprintln(w)
		}
		_ = w.Flush()
	}
	if len(r.Goals) > 0 {
		fmt.Fprintf(r.out, "\nNUMBERS TO REACH\n")
		for _, g := range r.Goals {
			said := "reached"
			if !g.Reached {
				said = "NOT REACHED"
			}
			fmt.Fprintf(w, "%s\t≤ %v %s\t%v\t%s\t\n", g.What, g.Reach, g.Unit, g.Measured, said)
		}
		_ = w.Flush()
	}
	for _, s := range r.Skipped {
		fmt.Fprintln(r.out, "skipped:", s)
	}
}

// save writes the JSON.
func (r *report) save(file string) error {
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(content, '\n'), 0o644)
}

func thisMachine() machine {
	m := machine{Cores: runtime.NumCPU(), Go: runtime.Version(), Kernel: output("uname", "-r"), CPU: "unknown CPU", Memory: "unknown memory"}
	m.CPU = orElse(fieldOf("/proc/cpuinfo", "model name"), m.CPU)
	m.Memory = orElse(fieldOf("/proc/meminfo", "MemTotal"), m.Memory)
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load = strings.Join(strings.Fields(string(load))[:3], " ")
	}
	return m
}

// versions are those of the servers that are installed, and of the peers that this
// binary was built with.
func versions() (v []string) {
	if bin, err := pgserver.BinDir(context.Background()); err == nil {
		v = append(v, output(filepath.Join(bin, "postgres"), "--version"))
	}
	if _, err := exec.LookPath("redis-server"); err == nil {
		v = append(v, output("redis-server", "--version"))
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	for _, m := range info.Deps {
		switch m.Path {
		case "github.com/jackc/pgx/v5", "github.com/jackc/pgxlisten", "go.etcd.io/etcd/server/v3", "github.com/nats-io/nats-server/v2",
			"github.com/nats-io/nats.go", "github.com/redis/go-redis/v9", "github.com/open-feature/go-sdk", "github.com/launchdarkly/go-server-sdk/v7":
			v = append(v, m.Path+" "+m.Version)
		}
	}
	return v
}

// fieldOf returns the value of the first line "name: value" of a file in /proc.
func fieldOf(file, name string) string {
	content, _ := os.ReadFile(file)
	for line := range strings.Lines(string(content)) {
		if before, after, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(before) == name {
			return strings.Join(strings.Fields(after), " ")
		}
	}
	return ""
}

func output(program string, args ...string) string {
	out, err := exec.Command(program, args...).Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
