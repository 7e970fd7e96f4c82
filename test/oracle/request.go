package oracle

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"
)

// request is a write over HTTP, planned before it is sent, like a transaction.
type request struct {
	tag    string // goes into the history as the reason
	pause  time.Duration
	pod    int
	method string
	path   string
	body   string

	key    string        // the setting to write; "": the maintenance
	sure   bool          // it always changes something
	twice  bool          // sent twice in a row; the second changes nothing
	ifSame bool          // read the setting, pause, and write if it is still the same
	leaves time.Duration // the caller disconnects after this time; 0: never
}

func (r request) String() string {
	text := fmt.Sprintf("%s %s %s %s", r.tag, r.method, r.path, r.body[:min(len(r.body), 120)])
	if r.ifSame {
		text += ", if it is still the same"
	}
	if r.leaves > 0 {
		text += fmt.Sprintf(", leaving after %v", r.leaves)
	}
	return fmt.Sprintf("%s, to pod-%d", text, r.pod+1)
}

// planRequest draws the next write.
func planRequest(rng *rand.Rand, tag string, pods int) request {
	r := request{tag: tag, pause: time.Duration(rng.IntN(24)) * time.Millisecond, pod: rng.IntN(pods)}
	switch rng.IntN(15) {
	case 0:
		r.leaves = time.Duration(rng.IntN(8)) * time.Millisecond
	}
	body := map[string]any{"reason": tag}
	if rng.IntN(5) == 0 {
		r.method, r.path = "PUT", "/api/v1/admin/maintenance"
		body["enabled"] = rng.IntN(2) == 0
		body["read_only"] = rng.IntN(3) == 0
		if r.sure = rng.IntN(4) > 0; r.sure {
			body["message"] = tag
		}
		if rng.IntN(4) == 0 {
			body["for"] = "1h"
			r.sure = true
		}
	} else {
		k := plain[rng.IntN(len(plain))]
		switch rng.IntN(12) {
		case 0:
			k = large[rng.IntN(len(large))]
		case 1:
			k = key{any1, "text"}
		}
		r.key, r.path = k.name, "/api/v1/admin/settings/"+k.name
		r.ifSame = rng.IntN(3) == 0
		if rng.IntN(6) == 0 {
			r.method, r.sure = "DELETE", true
		} else {
			r.method, r.sure = "PUT", k.marked()
			r.twice = rng.IntN(6) == 0
			body["kind"], body["value"] = k.kind, json.RawMessage(valueOf(rng, k, tag).json)
			if rng.IntN(5) == 0 {
				body["description"], body["public"] = tag, rng.IntN(2) == 0
				r.sure = true
			}
		}
	}
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // cannot happen: everything in it has a JSON form
	}
	r.body = string(text)
	return r
}
