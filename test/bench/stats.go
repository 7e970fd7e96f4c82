package main

import (
	"math"
	"slices"
	"time"
)

// sample is the measurements of one thing, in their order.
type sample []time.Duration

// quantile is the smallest value that at least the share q of the sample does
// not exceed; 0 for an empty sample.
func (s sample) quantile(q float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[max(int(math.Ceil(q*float64(len(sorted))))-1, 0)]
}

func (s sample) p50() time.Duration { return s.quantile(0.5) }
func (s sample) p99() time.Duration { return s.quantile(0.99) }
func (s sample) max() time.Duration { return s.quantile(1) }

// median of plain numbers.
func median(s []float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[(len(sorted)-1)/2]
}

// milliseconds is a duration as a figure for a table.
func milliseconds(d time.Duration) float64 { return round(float64(d)/1e6, 3) }

func round(x float64, digits int) float64 {
	scale := math.Pow10(digits)
	return math.Round(x*scale) / scale
}
