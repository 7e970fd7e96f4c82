package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestGrowNamesWhatTheRunLacks(t *testing.T) {
	run := newReport(nil)
	run.section("limits", "", "setting", "most").row("max_connections", 262143)
	file, page := filepath.Join(t.TempDir(), "last.json"), filepath.Join(t.TempDir(), "growth.md")
	if err := run.save(file); err != nil {
		t.Fatal(err)
	}
	err := grow(file, page)
	if err == nil || !strings.Contains(err.Error(), `section "propagation", column "last p50", row [system ours watchers 500]`) {
		t.Errorf("error = %v, want the row that is missing", err)
	}
	if err != nil && strings.Contains(err.Error(), "limits") {
		t.Errorf("error = %v, which names a row that is there", err)
	}
	if _, err := os.Stat(page); err == nil {
		t.Error("it wrote a page without figures")
	}
}

func TestACurveSaysHowItCameByAFigure(t *testing.T) {
	c := curve{sizes: []float64{10, 100, 500, 1000}, values: []float64{1, 10, 50, 190}, units: inTime}
	for n, want := range map[float64]amount{
		100:    {10, "10 ms"},
		200:    {20, "10 ms + 100 × (50 ms − 10 ms) ÷ 400"},
		10_000: {1990, "190 ms + 9,000 × (190 ms − 10 ms) ÷ 900"},
	} {
		if have := c.at(n); have != want {
			t.Errorf("at %v: %v, want %v", n, have, want)
		}
	}
}

func TestFiguresHaveThreeDigits(t *testing.T) {
	for want, x := range map[string]float64{"0.02": 0.02, "1.62": 1.623, "15.8": 15.818, "209": 209.147, "1,110": 1110.2, "2,000,000": 2e6, "3": 3} {
		if have := number(x); have != want {
			t.Errorf("number(%v) = %q, want %q", x, have, want)
		}
	}
	if have := in(1500, inMemory); have != "1.46 MiB" {
		t.Errorf("1500 KiB is %q", have)
	}
}
