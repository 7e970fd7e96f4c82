package httpx

import (
	"strconv"
	"strings"
)

// form is how a refusal looks.
type form int

const (
	formProblem form = iota // the default
	formHTML
	formText
)

// offers in our own order of preference. Who asks for JSON gets the problem.
var offers = []struct {
	mediaType string
	form      form
}{
	{"application/problem+json", formProblem},
	{"application/json", formProblem},
	{"text/html", formHTML},
	{"text/plain", formText},
}

// preferred reads an Accept header (RFC 9110, 12.5.1). For each form the most
// specific range counts. Between forms of the same weight the one that was named
// more precisely wins, then our own order.
func preferred(accept string) form {
	best, bestWeight, bestPrecision := formProblem, 0.0, 0
	for _, offer := range offers {
		weight, precision := weigh(accept, offer.mediaType)
		if weight > bestWeight || weight == bestWeight && weight > 0 && precision > bestPrecision {
			best, bestWeight, bestPrecision = offer.form, weight, precision
		}
	}
	return best
}

// weigh finds the most specific range that matches: 3 is the type itself, 2 its
// top level, 1 anything, 0 none. An unreadable weight makes a range count for
// nothing.
func weigh(accept, mediaType string) (weight float64, precision int) {
	top, _, _ := strings.Cut(mediaType, "/")
	for part := range strings.SplitSeq(accept, ",") {
		name, params, _ := strings.Cut(part, ";")
		p := 0
		switch strings.ToLower(strings.TrimSpace(name)) {
		case mediaType:
			p = 3
		case top + "/*":
			p = 2
		case "*/*":
			p = 1
		}
		if p > precision {
			weight, precision = quality(params), p
		}
	}
	return weight, precision
}

func quality(params string) float64 {
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(param, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "q") {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil || q < 0 || q > 1 {
			return 0
		}
		return q
	}
	return 1
}
