package httpx

import (
	"testing"
	"time"
)

func TestAPauseIsAllowedAndATrickleIsNot(t *testing.T) {
	type step struct {
		waited time.Duration
		bytes  int
	}
	repeat := func(n int, s step) (all []step) {
		for range n {
			all = append(all, s)
		}
		return all
	}
	for name, test := range map[string]struct {
		steps []step
		lives bool
	}{
		"nothing yet":                     {nil, true},
		"a pause shorter than patience":   {[]step{{9 * time.Second, 1}}, true},
		"a pause as long as patience":     {[]step{{10 * time.Second, 0}}, false},
		"a byte a second":                 {repeat(11, step{time.Second, 1}), false},
		"just too slow":                   {repeat(11000, step{time.Second, 99}), false},
		"just fast enough, for a day":     {repeat(86400, step{time.Second, 100}), true},
		"a pause after much was sent":     {[]step{{0, 1 << 30}, {10 * time.Second, 0}}, false},
		"pauses with enough between them": {repeat(1000, step{8 * time.Second, 800}), true},
	} {
		p := pace{patience: 10 * time.Second, rate: 100}
		lives := true
		for _, s := range test.steps {
			p.took(s.waited, s.bytes)
			lives = lives && p.left() > 0
		}
		if lives != test.lives {
			t.Errorf("%s: lives is %t, left are %v", name, lives, p.left())
		}
	}
}
