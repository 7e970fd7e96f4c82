package httpx

import "time"

// pace limits how long one side of an exchange may keep us waiting. Waiting uses up
// patience, and every byte earns some of it back, but never more than there was at
// first. So a pause is allowed and a trickle is not, and an upload may take any
// time if it is faster than rate. Only the time that we wait for that side counts.
type pace struct {
	patience time.Duration // the longest pause
	rate     int64         // bytes a second at which patience stays the same
	used     time.Duration
}

// left is how long the next step may take.
func (p *pace) left() time.Duration { return p.patience - p.used }

// took records how long a step took, and how many bytes it moved.
func (p *pace) took(waited time.Duration, n int) {
	p.used = max(0, p.used+waited-time.Duration(n)*time.Second/time.Duration(p.rate))
}

// The paces of exchanges with callers. Downloads need more patience, because the
// system's send buffer takes more only after a good part of it was read.
var (
	uploading   = pace{patience: 30 * time.Second, rate: 1 << 10}
	downloading = pace{patience: time.Minute, rate: 1 << 10}
	lingering   = pace{patience: 2 * time.Second, rate: 32 << 10}
)
