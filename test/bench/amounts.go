package main

import (
	"fmt"
	"slices"
	"strings"
)

// amount is a figure and how it was come by.
type amount struct {
	value float64
	how   string
}

// unit is a name, and how many of the smallest of its kind it is.
type unit struct {
	name string
	size float64
}

var (
	plain       = []unit{{"", 1}}
	bytesOnWire = []unit{{" GB", 1e9}, {" MB", 1e6}, {" kB", 1e3}, {" B", 1}}
	inMemory    = []unit{{" TiB", 1 << 30}, {" GiB", 1 << 20}, {" MiB", 1 << 10}, {" KiB", 1}}
	inTime      = []unit{{" s", 1000}, {" ms", 1}, {" µs", 1e-3}}
)

// in writes a figure in the largest unit that it has one of.
func in(x float64, units []unit) string {
	u := units[len(units)-1]
	if i := slices.IndexFunc(units, func(u unit) bool { return x >= u.size }); i >= 0 {
		u = units[i]
	}
	return number(x/u.size) + u.name
}

// number writes a figure with three digits, and thousands apart.
func number(x float64) string {
	digits := 0
	switch {
	case x == float64(int64(x)):
	case x < 1:
		digits = 3
	case x < 10:
		digits = 2
	case x < 100:
		digits = 1
	}
	whole, fraction, _ := strings.Cut(fmt.Sprintf("%.*f", digits, x), ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if fraction = strings.TrimRight(fraction, "0"); fraction != "" {
		whole += "." + fraction
	}
	return whole
}

// times is so many of the same.
func times(n, each float64, units []unit) amount {
	return amount{n * each, number(n) + " × " + in(each, units)}
}

// sum writes amounts and what they come to; nothing for none of them.
func sum(units []unit, amounts ...amount) string {
	var total float64
	var terms []string
	for _, a := range amounts {
		total += a.value
		terms = append(terms, a.how)
	}
	switch {
	case len(amounts) == 0:
		return ""
	case len(amounts) == 1 && terms[0] == in(total, units):
		return "**" + terms[0] + "**"
	}
	return strings.Join(terms, " + ") + " = **" + in(total, units) + "**"
}
