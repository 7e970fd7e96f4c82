package main

import (
	"fmt"
	"slices"
)

// figures looks up what a run measured, and records which figures are missing.
type figures struct {
	run     *report
	missing []error
}

// in is the figure in a section's column, in the row with these labels: names of
// columns, each followed by its value.
func (f *figures) in(name, column string, labels ...any) float64 {
	if i := slices.IndexFunc(f.run.Sections, func(s *section) bool { return s.Name == name }); i >= 0 {
		s := f.run.Sections[i]
		wanted := slices.Index(s.Columns, column)
		for _, row := range s.Rows {
			if wanted < 0 || wanted >= len(row) || !s.labelled(row, labels) {
				continue
			}
			if figure, ok := row[wanted].(float64); ok {
				return figure
			}
		}
	}
	f.missing = append(f.missing, fmt.Errorf("  section %q, column %q, row %v", name, column, labels))
	return 0
}

func (s *section) labelled(row, labels []any) bool {
	for i := 0; i < len(labels); i += 2 {
		at := slices.Index(s.Columns, labels[i].(string))
		if at < 0 || at >= len(row) || fmt.Sprint(row[at]) != fmt.Sprint(labels[i+1]) {
			return false
		}
	}
	return true
}
