package faultproxy

import (
	"bytes"
	"slices"
	"sync"
)

// OnAccept adds a hook that runs once for each new connection, before the
// upstream is dialled. Only that connection waits for it.
func (p *Proxy) OnAccept(hook func(conn int)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onAccept = append(slices.Clip(p.onAccept), hook)
}

// OnBytes adds a hook that runs before bytes are passed on. They wait for it, and a
// fault that it injects already applies to them. The other direction and other
// connections go on. The hook must not keep the slice.
//
// TCP has no messages: bytes that were written together may arrive in pieces, or
// together with the next ones.
func (p *Proxy) OnBytes(hook func(conn int, from Side, b []byte)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onBytes = append(slices.Clip(p.onBytes), hook)
}

// Before runs act once: the first time that this side has sent the text on any
// connection, before the bytes that complete the text are passed on.
func (p *Proxy) Before(from Side, text string, act func(conn int)) {
	var (
		mu    sync.Mutex
		done  bool
		tails = map[int][]byte{} // by connection: the last bytes, which may begin the text
	)
	p.OnBytes(func(conn int, side Side, b []byte) {
		if side != from {
			return
		}
		mu.Lock()
		seen := append(tails[conn], b...)
		tails[conn] = bytes.Clone(seen[max(0, len(seen)-len(text)+1):])
		found := !done && bytes.Contains(seen, []byte(text))
		done = done || found
		mu.Unlock()
		if found {
			act(conn)
		}
	})
}
