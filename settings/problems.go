package settings

import (
	"maps"
	"slices"
	"sync"

	"go.uber.org/zap"
)

// problems lists what is wrong now, by topic. A problem is logged when it begins, when
// its text changes, and when it ends, but not each time that it is reported.
type problems struct {
	log *zap.Logger

	mu   sync.Mutex
	text map[string]string
}

// set reports what is wrong with a topic; "" means nothing. The text must be the same
// as long as the problem is; the cause may differ, and is only logged.
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

// list returns a line for each problem, ordered by topic.
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
