package settings

// level says that somebody has asked since it was last received. It is a level, not a
// queue: many requests are received as one.
type level chan struct{}

func newLevel() level { return make(level, 1) }

// raise never blocks.
func (l level) raise() {
	select {
	case l <- struct{}{}:
	default:
	}
}

// lower withdraws the request, if there is one.
func (l level) lower() {
	select {
	case <-l:
	default:
	}
}
