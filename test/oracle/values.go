package oracle

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// The settings that the writers change. They are few, so that writers collide.
var (
	plain = []key{
		{"text.1", "text"},
		{"text.2", "text"},
		{"text.3", "text"},
		{"int.1", "int"},
		{"int.2", "int"},
		{"bool.1", "bool"},
		{"float.1", "float"},
		{"time.1", "time"},
		{"json.1", "json"},
		{"json.2", "json"},
	}
	large = []key{{"large.1", "text"}, {"large.2", "json"}}
	any1  = "any.1" // a setting that is deleted, and comes back as another kind
	moved = "moved.1"

	// Every transaction that writes one of a pair writes the other too, with the same
	// value. If they differ, only half of a commit is visible.
	pairs = [][2]string{{"pair.1.a", "pair.1.b"}, {"pair.2.a", "pair.2.b"}}
)

const bulk = 24 // settings bulk.1 … that one statement writes

type key struct{ name, kind string }

// value is a value as the API and as SQL write it.
type value struct {
	key
	json string
	text string // PostgreSQL casts it to the kind's type
}

var sqlTypes = map[string]string{
	"bool": "boolean", "int": "bigint", "float": "double precision", "text": "text", "time": "timestamptz", "json": "jsonb",
}

// marked reports whether values of the kind can contain a write's tag. If so, no two
// writes write the same value.
func (k key) marked() bool { return k.kind == "text" || k.kind == "json" }

// valueOf makes a random value. Values of large settings are about as long as, or
// longer than, what a notification can carry.
func valueOf(rng *rand.Rand, k key, tag string) value {
	quote := func(s string) string {
		b, err := json.Marshal(s)
		if err != nil {
			panic(err) // a string always has a JSON form
		}
		return string(b)
	}
	v := value{key: k}
	switch k.kind {
	case "bool":
		v.text = fmt.Sprint(rng.IntN(2) == 0)
		v.json = v.text
	case "int":
		v.text = fmt.Sprint(rng.Int64() - rng.Int64())
		v.json = v.text
	case "float":
		v.text = []string{"0.1", "1e-7", "-2.5", "1e300", "0.30000000000000004", "17"}[rng.IntN(6)]
		v.json = v.text
	case "time":
		at := time.Date(1000+rng.IntN(8000), 1, 1, 0, 0, rng.IntN(1e6), rng.IntN(1e6)*1000, time.UTC)
		v.text = at.Format(time.RFC3339Nano)
		v.json = quote(v.text)
	case "text":
		v.text = tag + padding(rng, k)
		v.json = quote(v.text)
	case "json":
		v.text = fmt.Sprintf(`{"tag": %q, "list": [1.0, 1e2, null, %d], "padding": %s}`, tag, rng.IntN(100), quote(padding(rng, k)))
		v.json = v.text
	}
	return v
}

func padding(rng *rand.Rand, k key) string {
	if !strings.HasPrefix(k.name, "large") {
		return []string{"", " ünï ✓ 漢字", ` "quotes" and \ and '`, "\n\ttwo lines", " <a href=x>&amp;"}[rng.IntN(5)]
	}
	length := 6800 + rng.IntN(1200)
	switch rng.IntN(10) {
	case 0, 1, 2:
		length = 8000 + rng.IntN(12000)
	case 3:
		length = 60000
	}
	if rng.IntN(3) == 0 { // compressible, so its stored size is misleadingly small
		return strings.Repeat("x", length)
	}
	letters := make([]byte, length)
	for i := range letters {
		letters[i] = byte('a' + rng.IntN(26))
	}
	return string(letters)
}
