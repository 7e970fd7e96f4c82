package httpx

import (
	"net/http"
	"testing"
	"time"
)

func TestPreferIsReadAsTheRFCSays(t *testing.T) {
	for _, test := range []struct {
		lines []string
		wait  time.Duration
		asked bool
	}{
		{nil, 0, false},
		{[]string{"respond-async"}, 0, false},
		{[]string{"wait=5"}, 5 * time.Second, true},
		{[]string{"WAIT = 5"}, 5 * time.Second, true},
		{[]string{`wait="5"`}, 5 * time.Second, true},
		{[]string{"respond-async, wait=5"}, 5 * time.Second, true},
		{[]string{"respond-async", "wait=5; x=y, return=minimal"}, 5 * time.Second, true},
		{[]string{`foo="a, wait=1", wait=2`}, 2 * time.Second, true},
		{[]string{`foo="a\", wait=1", wait=2`}, 2 * time.Second, true},
		{[]string{"wait=1, wait=9"}, time.Second, true}, // the first one counts
		{[]string{"wait=0"}, 0, true},
		{[]string{"wait=3600"}, maxWait, true},
		{[]string{"waiting=5"}, 0, false},
	} {
		wait, asked, err := waitOf(http.Header{"Prefer": test.lines})
		if wait != test.wait || asked != test.asked || err != nil {
			t.Errorf("%q: %v, %v, %v; want %v, %v", test.lines, wait, asked, err, test.wait, test.asked)
		}
	}
	for _, line := range []string{"wait", "wait=", "wait=x", "wait=-1", "wait=1.5", "wait=1e3", "wait=99999999999999999999"} {
		if _, _, err := waitOf(http.Header{"Prefer": {line}}); err == nil {
			t.Errorf("%q: no error", line)
		}
	}
}
