package httpx

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
)

// in reports whether a text, such as a header's value or a request's target,
// contains one of our tokens, even one that has ended. No token may reach the
// upstream, no matter where in a request it is. It is found after any scheme or
// name, in quotes, in a list, percent-encoded, in base64, and in nested encodings.
//
// We only have the tokens' digests, so each part that could be a token is hashed.
// A text without a word as long as a token costs next to nothing. No text costs
// more than about one hash for every 4 bytes, plus 120. The limit has a price: a
// token that itself has many separators may be missed in the middle of a long word.
// A token with letters or digits right beside it is always missed. Neither holds
// for tokens that [NewToken] made: they are found whatever surrounds them.
func (ts *Tokens) in(text string) bool {
	if start, _ := nextWord(text, 0); start < 0 {
		return false
	}
	s := search{digests: ts.set().digests, work: spareWork}
	return len(s.digests) > 0 && s.in([]byte(text), maxEncodings)
}

// inName does the same for a header's name, whose case may have changed on the way.
// So it misses a token in mixed case, unless [NewToken] made it.
func (ts *Tokens) inName(name string) bool {
	if len(name) < minToken {
		return false
	}
	return ts.in(name) || ts.in(strings.ToLower(name))
}

// strip removes each header line that contains one of our tokens. If that is a line
// of Authorization, it removes all lines of Authorization.
func (ts *Tokens) strip(h http.Header) {
	for name, lines := range h {
		if ts.inName(name) {
			delete(h, name)
			continue
		}
		if !slices.ContainsFunc(lines, ts.in) {
			continue
		}
		h[name] = slices.DeleteFunc(lines, ts.in)
		if len(h[name]) == 0 || name == "Authorization" {
			delete(h, name)
		}
	}
}

// search looks for any of the tokens in one text.
type search struct {
	digests map[[sha256.Size]byte]struct{}
	work    int // spare work, in addition to what a word's length allows
}

const (
	// Work is counted in steps; a hash costs as many as costOfHash.
	spareWork   = 2 << 10
	workPerByte = 4
	costOfHash  = 16

	// maxEncodings is how deeply encodings may be nested.
	maxEncodings = 3

	// minBase64 is the length of a token of minToken characters in base64.
	minBase64 = (minToken*8 + 5) / 6
)

func (s *search) in(text []byte, encodings int) bool {
	if s.made(text) {
		return true
	}
	for start, end := nextWord(text, 0); start >= 0; start, end = nextWord(text, end) {
		word := text[start:end]
		if encodings > 0 && s.inEncoded(word, encodings-1) || s.inWord(word) {
			return true
		}
	}
	return false
}

// made reports whether a text contains a token that [NewToken] made. Its prefix and
// length show where it begins and ends. Case is ignored, because the names of
// headers and hosts do not keep theirs.
func (s *search) made(text []byte) bool {
	const random = madeLength - len(madePrefix)
	for start := 0; ; {
		i := bytes.IndexByte(text[start:], madePrefix[len(madePrefix)-1])
		if i < 0 {
			return false
		}
		start += i + 1
		if start < len(madePrefix) || start+random > len(text) || !bytes.EqualFold(text[start-len(madePrefix):start], []byte(madePrefix)) {
			continue
		}
		var secret [madeLength]byte
		copy(secret[:], madePrefix)
		if !upperBase32(secret[len(madePrefix):], text[start:start+random]) {
			continue
		}
		if _, ours := s.digests[sha256.Sum256(secret[:])]; ours {
			return true
		}
	}
}

// upperBase32 copies base32 (RFC 4648) in upper case. It returns false if from holds
// anything else.
func upperBase32(to, from []byte) bool {
	for i, c := range from {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		if !('A' <= c && c <= 'Z' || '2' <= c && c <= '7') {
			return false
		}
		to[i] = c
	}
	return true
}

// nextWord finds the next word: a run of characters that a token may have, at least
// as long as the shortest token. It returns -1 if there is none. It checks each
// candidate from its end, so that it skips short words without reading them whole.
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

// inWord cuts a word before and after each separator, and tries the parts between
// two cuts. A token may contain separators, too. So after the single pieces it
// tries the word's beginnings and ends, then what is in quotes, and then all other
// parts, the shortest first, until the allowed work is used up.
func (s *search) inWord(word []byte) bool {
	var few [64]int
	cuts := append(few[:0], 0)
	for i := 1; i < len(word); i++ {
		if separator[word[i]] || separator[word[i-1]] {
			cuts = append(cuts, i)
		}
	}
	cuts = append(cuts, len(word))
	last := len(cuts) - 1

	work := s.work
	defer func() { s.work = min(max(s.work, 0), work) }()
	for i := range last {
		if s.is(word, cuts[i], cuts[i+1]) {
			return true
		}
	}
	s.work = work + workPerByte*len(word)
	for i := 1; i < last && s.work > 0; i++ {
		if s.is(word, cuts[i], len(word)) || s.is(word, 0, cuts[last-i]) {
			return true
		}
	}
	for _, trim := range [...][2]int{{0, 0}, {1, 1}, {1, 2}, {2, 1}, {3, 1}, {3, 2}} { // all of it, and inside "…" "…"; name=…; name="…" name="…";
		if start, end := trim[0], last-trim[1]; start+1 < end && s.is(word, cuts[start], cuts[end]) {
			return true
		}
	}
	for span := 2; span < last-1; span++ {
		for i := 1; i+span < last; i++ {
			if s.work <= 0 {
				return false
			}
			if s.is(word, cuts[i], cuts[i+span]) {
				return true
			}
		}
	}
	return false
}

// is reports whether a part of a word is a token. On each side of it there must be
// a separator, or the end of the word.
func (s *search) is(word []byte, start, end int) bool {
	s.work--
	if end-start < minToken || end-start > maxToken ||
		start > 0 && !separator[word[start-1]] || end < len(word) && !separator[word[end]] {
		return false
	}
	s.work -= costOfHash
	_, ours := s.digests[sha256.Sum256(word[start:end])]
	return ours
}

// separator is the set of characters that are often next to a token, and seldom in one.
var separator = func() (is [256]bool) {
	for _, c := range []byte("!\"#$%&'()*+./:;<=>?@[\\]^`{|}~") {
		is[c] = true
	}
	return is
}()

// inEncoded decodes a word, and the runs in it that may be base64, and searches the results.
func (s *search) inEncoded(word []byte, encodings int) bool {
	if bytes.ContainsRune(word, '%') {
		if plain := percentDecoded(word); len(plain) < len(word) && s.in(plain, encodings) {
			return true
		}
	}
	if s.inBase64(word, base64.RawURLEncoding, '-', '_', encodings) {
		return true
	}
	return bytes.ContainsAny(word, "+/") && s.inBase64(word, base64.RawStdEncoding, '+', '/', encodings)
}

func (s *search) inBase64(word []byte, encoding *base64.Encoding, c62, c63 byte, encodings int) bool {
	for start := 0; start < len(word); {
		end := start
		for end < len(word) && (isAlphanumeric(word[end]) || word[end] == c62 || word[end] == c63) {
			end++
		}
		if run := word[start:end]; len(run) >= minBase64 {
			// If the end of the run cannot be decoded, it is not part of the encoding.
			plain, _ := encoding.AppendDecode(nil, run)
			if s.in(plain, encodings) {
				return true
			}
			// Base64 characters right before the encoded token belong to the run, and shift its groups of four.
			for shift := 1; shift < 4; shift++ {
				if plain, _ = encoding.AppendDecode(plain[:0], run[shift:]); s.made(plain) {
					return true
				}
			}
		}
		start = end + 1
	}
	return false
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// percentDecoded decodes percent-encoding; malformed escapes stay as they are.
func percentDecoded(word []byte) []byte {
	plain := make([]byte, 0, len(word))
	for i := 0; i < len(word); i++ {
		if word[i] == '%' && i+2 < len(word) {
			var c [1]byte
			if _, err := hex.Decode(c[:], word[i+1:i+3]); err == nil {
				plain = append(plain, c[0])
				i += 2
				continue
			}
		}
		plain = append(plain, word[i])
	}
	return plain
}
