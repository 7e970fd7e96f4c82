package settings

// level says that somebody has asked since it was last taken. It is a level, not a
// queue: however many ask, it is taken once.
type level chan struct{}

func newLevel() level { return make(level, 1) }

// raise never blocks.
func (l level) raise() {
	select {
	case l <- struct{}{}:
	default:
	}
}

// lower takes back what has been asked.
func (l level) lower() {
	select {
	case <-l:
	default:
	}
}
