package httpx

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
)

// in says whether a text, such as a header's value or a request's target, holds
// a token of ours, ended ones included: it must not reach the upstream, however
// it was meant to be sent. It finds a token after any scheme or name, in quotes,
// in a list, percent-encoded, in base64, and in these within each other.
//
// Only digests are known, so each part that could be a token is hashed. A text
// without a word as long as a token costs next to nothing, and no text costs
// more than about one hash for each two bytes. The price: if a token has
// separators of its own, it may be missed in the middle of a long word that has
// many. One that [NewToken] made has none.
func (ts *Tokens) in(text string) bool {
	if start, _ := nextWord(text, 0); start < 0 {
		return false
	}
	set := ts.set()
	return len(set.tokens) > 0 && set.in([]byte(text), maxEncodings)
}

// strip takes out what holds a token of ours: the lines that do, and all of
// Authorization if one of its lines does.
func (ts *Tokens) strip(h http.Header) {
	for name, lines := range h {
		if !slices.ContainsFunc(lines, ts.in) {
			continue
		}
		h[name] = slices.DeleteFunc(lines, ts.in)
		if len(h[name]) == 0 || name == "Authorization" {
			delete(h, name)
		}
	}
}

const (
	// maxEncodings is how deep encodings may be nested.
	maxEncodings = 3

	// minBase64 is the length of a token of minToken characters in base64.
	minBase64 = (minToken*8 + 5) / 6
)

func (set tokenSet) in(text []byte, encodings int) bool {
	for start, end := nextWord(text, 0); start >= 0; start, end = nextWord(text, end) {
		word := text[start:end]
		if set.inWord(word) || encodings > 0 && set.inEncoded(word, encodings-1) {
			return true
		}
	}
	return false
}

// nextWord finds the next run of characters that a token may have, if it is as
// long as a token; else it returns -1. It looks from where a word would end, so
// it skips over short words without reading them whole.
func nextWord[T string | []byte](text T, from int) (start, end int) {
	for start = from; start+minToken <= len(text); {
		end = start + minToken - 1
		for end >= start && !neverInToken(rune(text[end])) {
			end--
		}
		if end >= start {
			start = end + 1
			continue
		}
		for end = start + minToken; end < len(text) && !neverInToken(rune(text[end])); end++ {
		}
		return start, end
	}
	return -1, -1
}

// inWord cuts a word before and after each separator, and tries what is between
// two cuts. A token may have separators too, so first come single pieces, then
// the word with at most three pieces cut off, and then whatever else, the
// shortest first, within a bound.
func (set tokenSet) inWord(word []byte) bool {
	var few [64]int
	cuts := append(few[:0], 0)
	for i := 1; i < len(word); i++ {
		if separator[word[i]] || separator[word[i-1]] {
			cuts = append(cuts, i)
		}
	}
	cuts = append(cuts, len(word))
	pieces := len(cuts) - 1

	const trimmed = 3
	work := 256 + 4*len(word)
	if set.inSpans(word, cuts, 1, nil) {
		return true
	}
	for span := pieces; span > 1 && span >= pieces-trimmed; span-- {
		if set.inSpans(word, cuts, span, nil) {
			return true
		}
	}
	for span := 2; span < pieces-trimmed && work > 0; span++ {
		if set.inSpans(word, cuts, span, &work) {
			return true
		}
	}
	return false
}

// inSpans tries what consists of so many pieces. It takes what it does from
// work, which may be nil, and ends when that is used up.
func (set tokenSet) inSpans(word []byte, cuts []int, span int, work *int) bool {
	const costOfHash = 16
	for i := span; i < len(cuts); i++ {
		cost := 1
		if part := word[cuts[i-span]:cuts[i]]; len(part) >= minToken && len(part) <= maxToken {
			if _, ours := set.digests[sha256.Sum256(part)]; ours {
				return true
			}
			cost += costOfHash
		}
		if work != nil {
			if *work -= cost; *work <= 0 {
				return false
			}
		}
	}
	return false
}

// separator is what is seldom part of a token, and often beside one.
var separator = func() (is [256]bool) {
	for _, c := range []byte("!\"#$%&'()*+./:;<=>?@[\\]^`{|}~") {
		is[c] = true
	}
	return is
}()

// inEncoded decodes a word, and the runs of it that may be base64, and looks again.
func (set tokenSet) inEncoded(word []byte, encodings int) bool {
	if plain, changed := percentDecoded(word); changed && set.in(plain, encodings) {
		return true
	}
	if set.inBase64(word, base64.RawURLEncoding, '-', '_', encodings) {
		return true
	}
	return bytes.ContainsAny(word, "+/") && set.inBase64(word, base64.RawStdEncoding, '+', '/', encodings)
}

func (set tokenSet) inBase64(word []byte, encoding *base64.Encoding, c62, c63 byte, encodings int) bool {
	for start := 0; start < len(word); {
		end := start
		for end < len(word) && (isAlphanumeric(word[end]) || word[end] == c62 || word[end] == c63) {
			end++
		}
		if run := word[start:end]; len(run) >= minBase64 {
			// What cannot be decoded at its end is not part of it.
			if plain, _ := encoding.AppendDecode(nil, run); set.in(plain, encodings) {
				return true
			}
		}
		start = end + 1
	}
	return false
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// percentDecoded leaves what is malformed as it is.
func percentDecoded(word []byte) (plain []byte, changed bool) {
	for {
		i := bytes.IndexByte(word, '%')
		if i < 0 {
			return append(plain, word...), changed
		}
		plain, word = append(plain, word[:i]...), word[i:]
		if len(word) > 2 {
			high, ok1 := unhex(word[1])
			low, ok2 := unhex(word[2])
			if ok1 && ok2 {
				plain, word, changed = append(plain, high<<4|low), word[3:], true
				continue
			}
		}
		plain, word = append(plain, '%'), word[1:]
	}
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
