package settings

import (
	"testing"
	"time"
)

func TestMaintenanceIsTheSwitchOrTheWindow(t *testing.T) {
	now := time.Date(2030, 1, 31, 12, 0, 0, 0, time.UTC)
	before, after := now.Add(-time.Hour), now.Add(time.Hour)
	never := time.Time{}
	for name, test := range map[string]struct {
		m            Maintenance
		active       bool
		since, until time.Time
		retry        time.Duration
	}{
		"nothing":                         {Maintenance{}, false, never, never, DefaultRetryAfter},
		"the switch":                      {Maintenance{Enabled: true, SwitchedAt: before}, true, before, never, DefaultRetryAfter},
		"the switch and its own retry":    {Maintenance{Enabled: true, SwitchedAt: before, RetryAfter: time.Minute}, true, before, never, time.Minute},
		"inside the window":               {Maintenance{StartsAt: before, EndsAt: after}, true, before, after, time.Hour},
		"at its start":                    {Maintenance{StartsAt: now, EndsAt: after}, true, now, after, time.Hour},
		"at its end":                      {Maintenance{StartsAt: before, EndsAt: now}, false, never, never, DefaultRetryAfter},
		"before it":                       {Maintenance{StartsAt: after, EndsAt: after.Add(1)}, false, never, never, DefaultRetryAfter},
		"a window without an end":         {Maintenance{StartsAt: before}, true, before, never, DefaultRetryAfter},
		"an end without a start":          {Maintenance{EndsAt: after}, false, never, never, DefaultRetryAfter},
		"a window that ends first":        {Maintenance{StartsAt: before, EndsAt: before.Add(-1)}, false, never, never, DefaultRetryAfter},
		"a forgotten window, the switch":  {Maintenance{Enabled: true, SwitchedAt: now, StartsAt: before.Add(-time.Hour), EndsAt: before}, true, now, never, DefaultRetryAfter},
		"both: the window's end is known": {Maintenance{Enabled: true, SwitchedAt: now, StartsAt: before, EndsAt: after}, true, before, never, time.Hour},
		"nearly over":                     {Maintenance{StartsAt: before, EndsAt: now.Add(1)}, true, before, now.Add(1), time.Second},
	} {
		if got := test.m.Active(now); got != test.active {
			t.Errorf("%s: active %v, want %v", name, got, test.active)
		}
		if got := test.m.Since(now); !got.Equal(test.since) {
			t.Errorf("%s: since %v, want %v", name, got, test.since)
		}
		if got := test.m.Until(now); !got.Equal(test.until) {
			t.Errorf("%s: until %v, want %v", name, got, test.until)
		}
		if got := test.m.RetryIn(now); got != test.retry {
			t.Errorf("%s: retry in %v, want %v", name, got, test.retry)
		}
	}
}

func TestActiveNowReadsTheClockForAWindow(t *testing.T) {
	m := Maintenance{StartsAt: time.Now().Add(-time.Hour), EndsAt: time.Now().Add(time.Hour)}
	if !m.ActiveNow() {
		t.Error("inside the window: not active")
	}
}
