package httpx

import "time"

// pace is how long one side of an exchange may keep us waiting. Waiting uses up
// patience, and every byte earns some back, but never more than there was: a
// pause is allowed, a trickle is not, and however long an upload takes it may go
// on at more than rate. Only the time in which that side is waited for counts.
type pace struct {
	patience time.Duration // the longest pause
	rate     int64         // bytes a second that cost nothing in the long run
	used     time.Duration
}

// left is how long the next step may take.
func (p *pace) left() time.Duration { return p.patience - p.used }

// took notes how long a step took, and how many bytes it moved.
func (p *pace) took(waited time.Duration, n int) {
	p.used = max(0, p.used+waited-time.Duration(n)*time.Second/time.Duration(p.rate))
}

// The paces of exchanges with callers. The system buffers what is sent, and lets
// more in only when a good part of that was read, so sending takes more patience.
var (
	uploading   = pace{patience: 30 * time.Second, rate: 1 << 10}
	downloading = pace{patience: time.Minute, rate: 1 << 10}
	lingering   = pace{patience: 2 * time.Second, rate: 32 << 10}
)
