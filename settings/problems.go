package settings

import (
	"maps"
	"slices"
	"sync"

	"go.uber.org/zap"
)

// problems are what is wrong now, by topic. A problem is logged when it begins,
// when it becomes another, and when it ends, not on each repetition.
type problems struct {
	log *zap.Logger

	mu   sync.Mutex
	text map[string]string
}

// set says what is wrong with a topic, "" for nothing. The text holds nothing that
// differs from one repetition to the next; cause, which may, is for the log.
func (p *problems) set(topic, text string, cause error) {
	p.mu.Lock()
	old := p.text[topic]
	if text == "" {
		delete(p.text, topic)
	} else {
		if p.text == nil {
			p.text = map[string]string{}
		}
		p.text[topic] = text
	}
	p.mu.Unlock()
	switch {
	case text == old:
	case text == "":
		p.log.Info("recovered", zap.String("topic", topic), zap.String("was", old))
	default:
		p.log.Warn("degraded", zap.String("topic", topic), zap.String("problem", text), zap.Error(cause))
	}
}

// list is a line for each, ordered by topic.
func (p *problems) list() (lines []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, topic := range slices.Sorted(maps.Keys(p.text)) {
		lines = append(lines, topic+": "+p.text[topic])
	}
	return lines
}

func (p *problems) has(topic string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text[topic] != ""
}
