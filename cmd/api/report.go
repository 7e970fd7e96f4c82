package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"platform-settings/internal/wire"
)

// report is a pod's answer. It is whole if it has the fields that every pod's
// answer has.
type report interface{ whole() bool }

type (
	writeReport       struct{ wire.Written }
	maintenanceReport struct{ wire.Maintenance }
	fleetReport       struct{ wire.Fleet }
)

// unsaid is the revision of a pod that has not reported one yet.
const unsaid = 0

func (w *writeReport) whole() bool {
	return w.Revision > 0 && w.Maintenance != nil && w.Maintenance.RetryAfter > 0
}
func (m *maintenanceReport) whole() bool { return m.RetryAfter > 0 }
func (f *fleetReport) whole() bool       { return f.Revision > 0 && f.Pods != nil }

func (m maintenanceReport) String() string {
	words := []string{"maintenance is off"}
	if m.Active {
		words[0] = "maintenance is on"
	}
	if m.Active && m.ReadOnly {
		words = append(words, "reads are let through")
	}
	if m.Since != nil {
		words = append(words, "since "+m.Since.Format(time.RFC3339))
	}
	if m.Until != nil {
		words = append(words, "until "+m.Until.Format(time.RFC3339))
	}
	if m.Message != "" {
		words = append(words, fmt.Sprintf("%q", m.Message))
	}
	return strings.Join(words, ", ")
}

func (f fleetReport) summary() string {
	if f.Pods == nil {
		return "it is not known which pods have it"
	}
	have := 0
	for _, p := range f.Pods {
		if p.Revision >= f.Revision {
			have++
		}
	}
	return fmt.Sprintf("%d of %d pods have it", have, len(f.Pods))
}

// stragglers names the pods that may not have it.
func (f fleetReport) stragglers() string {
	var words []string
	if f.Unknown != "" {
		words = append(words, plain(f.Unknown))
	}
	for _, p := range f.Pods {
		switch {
		case p.Revision >= f.Revision:
		case p.ClosedAt != nil:
		default:
			has := fmt.Sprintf("at revision %d", p.Revision)
			if p.Revision == unsaid {
				has = "has not reported a revision"
			}
			words = append(words, fmt.Sprintf("%s (%s, %s)", plain(p.Pod), plain(p.State), has))
		}
	}
	return cmp.Or(strings.Join(words, ", "), "no pod has said so")
}

func (f fleetReport) table(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "POD\tSTATE\tREVISION\tLAG\tLAST SEEN\tLISTENER\tSOURCE\tBUILD")
	for _, p := range f.Pods {
		state, seen := p.State, "never"
		if p.ClosedAt != nil {
			state += ", closed"
		}
		if p.LastSeen != nil {
			seen = fmt.Sprintf("%.1fs ago", max(0, time.Since(*p.LastSeen).Seconds()))
		}
		revision, lag := strconv.FormatInt(p.Revision, 10), "-"
		switch {
		case p.Revision == unsaid:
			revision, lag = "unknown", "unknown"
		case p.Lag > 0:
			lag = fmt.Sprintf("%d, %.1fs", p.Lag, p.LagSeconds)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			plain(p.Pod), plain(state), revision, lag, seen, plain(p.Listener), plain(p.Source), plain(p.Build))
	}
	_ = t.Flush()
}

// plain replaces characters that could control a terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) {
			return r
		}
		return '?'
	}, s)
}

// progress is a line that is overwritten in place. It is shown only on a terminal.
type progress struct{ w io.Writer }

const eraseLine = "\r\x1b[K"

func (p progress) show(f fleetReport) {
	if f.Converged || !isTerminal(p.w) {
		return
	}
	names := strings.Join(append(append([]string{}, f.Behind...), f.Lost...), ", ")
	if most := 60; len(names) > most {
		names = names[:most] + "…"
	}
	fmt.Fprintf(p.w, eraseLine+"revision %d: %s; waiting for %s", f.Revision, f.summary(), plain(names))
}

func (p progress) clear() {
	if isTerminal(p.w) {
		fmt.Fprint(p.w, eraseLine)
	}
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
