package httpx

import (
	"strconv"
	"strings"
)

// form is the format of a refusal.
type form int

const (
	formProblem form = iota // the default
	formHTML
	formText
)

// offers are in our order of preference. A caller that asks for JSON gets a problem.
var offers = []struct {
	mediaType string
	form      form
}{
	{"application/problem+json", formProblem},
	{"application/json", formProblem},
	{"text/html", formHTML},
	{"text/plain", formText},
}

// preferred reads an Accept header (RFC 9110, 12.5.1). For each form, the most
// specific matching range counts. If two forms have the same weight, the one with
// the more specific range wins, then the one that we prefer.
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

// weigh finds the most specific range that matches. Its precision is 3 for the type
// itself, 2 for its top level, 1 for anything, and 0 if no range matches. A range
// whose weight is malformed has weight 0.
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
