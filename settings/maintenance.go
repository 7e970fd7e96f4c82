package settings

import "time"

// The keys of the maintenance settings.
const (
	KeyMaintenanceMode       = "maintenance_mode"
	KeyMaintenanceReadOnly   = "maintenance_read_only"
	KeyMaintenanceMessage    = "maintenance_message"
	KeyMaintenanceRetryAfter = "maintenance_retry_after"
	KeyMaintenanceStartsAt   = "maintenance_starts_at"
	KeyMaintenanceEndsAt     = "maintenance_ends_at"
)

// DefaultRetryAfter is sent to clients if maintenance_retry_after is not set.
const DefaultRetryAfter = 30 * time.Second

// MaxRetryAfter is the largest value of maintenance_retry_after.
const MaxRetryAfter = 24 * time.Hour

// Maintenance is a typed view of the maintenance settings.
type Maintenance struct {
	Enabled    bool          // the switch: on until somebody turns it off
	ReadOnly   bool          // let GET, HEAD and OPTIONS through
	Message    string        // for clients; may be empty
	RetryAfter time.Duration // whole seconds, up to [MaxRetryAfter]; 0: not set, see [DefaultRetryAfter]
	StartsAt   time.Time     // the window's start; zero: no window
	EndsAt     time.Time     // the window's end; zero: it has none

	SwitchedAt time.Time // when the switch's row was last changed; ignored in a write
}

// MaintenanceOf collects the maintenance settings. lookup returns nil for a key that
// does not exist.
func MaintenanceOf(lookup func(key string) *Setting) Maintenance {
	value := func(key string) Value {
		if setting := lookup(key); setting != nil {
			return setting.Value
		}
		return Value{}
	}
	m := Maintenance{
		Enabled:    value(KeyMaintenanceMode).Bool(),
		ReadOnly:   value(KeyMaintenanceReadOnly).Bool(),
		Message:    value(KeyMaintenanceMessage).Text(),
		RetryAfter: time.Duration(value(KeyMaintenanceRetryAfter).Int()) * time.Second,
	}
	if v := value(KeyMaintenanceStartsAt); v.kind == KindTime {
		m.StartsAt = v.Time()
	}
	if v := value(KeyMaintenanceEndsAt); v.kind == KindTime {
		m.EndsAt = v.Time()
	}
	if mode := lookup(KeyMaintenanceMode); mode != nil {
		m.SwitchedAt = mode.UpdatedAt
	}
	return m
}

// ActiveNow says whether maintenance is active: the switch is on, or now is inside the
// window. It reads the clock only if a window is set.
func (m *Maintenance) ActiveNow() bool {
	return m.Enabled || m.StartsAt != (time.Time{}) && m.inWindowNow() // short, to be inlined
}

func (m *Maintenance) inWindowNow() bool { return m.InWindow(time.Now()) }

// Active is ActiveNow for any time.
func (m *Maintenance) Active(now time.Time) bool {
	return m.Enabled || m.InWindow(now)
}

// InWindow says whether now is inside the window. The window includes its start, and
// excludes its end. Without an end it stays open; without a start there is no window.
func (m *Maintenance) InWindow(now time.Time) bool {
	return !m.StartsAt.IsZero() && !now.Before(m.StartsAt) && (m.EndsAt.IsZero() || now.Before(m.EndsAt))
}

// Since is when the maintenance that is active at now began; zero if none is active.
func (m *Maintenance) Since(now time.Time) time.Time {
	inWindow := m.InWindow(now)
	switch {
	case m.Enabled && inWindow && m.StartsAt.Before(m.SwitchedAt), inWindow && !m.Enabled:
		return m.StartsAt
	case m.Enabled:
		return m.SwitchedAt
	}
	return time.Time{}
}

// Until is when the maintenance that is active at now ends by itself: the window's end.
// It is zero if none is active, or if somebody has to end it.
func (m *Maintenance) Until(now time.Time) time.Time {
	if m.Enabled || !m.InWindow(now) {
		return time.Time{}
	}
	return m.EndsAt
}

// RetryIn is how long a client that is refused at now should wait: until the window's
// end if that is known, and otherwise RetryAfter or [DefaultRetryAfter]. It is at least
// a second.
func (m *Maintenance) RetryIn(now time.Time) time.Duration {
	if m.InWindow(now) && !m.EndsAt.IsZero() {
		return max(m.EndsAt.Sub(now), time.Second)
	}
	if m.RetryAfter > 0 {
		return m.RetryAfter
	}
	return DefaultRetryAfter
}
