package httpx

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

// The length of a token, in characters of visible ASCII without commas. The upper
// limit bounds the work of [Tokens.in].
const (
	minToken = 32
	maxToken = 512
)

// maxTokens is how many tokens the file may hold.
const maxTokens = 1000

// Token is a valid token's caller and digest. It does not contain the token itself.
type Token struct {
	caller
	digest [sha256.Size]byte
}

// Tokens are the tokens that may call the admin API: fixed ones, and those of a file,
// whose changes they follow. Make them with [LoadTokens].
type Tokens struct{ all *reloaded[tokenSet] }

type tokenSet struct {
	tokens  []Token // each digest once
	digests map[[sha256.Size]byte]struct{}
}

// LoadTokens combines fixed tokens with those in a file; the path "" means no file. It
// fails if the file cannot be read or is malformed. Later changes and faults of the
// file go to the log, which may be nil.
func LoadTokens(fixed []Token, path string, log *zap.Logger) (*Tokens, error) {
	all := &reloaded[tokenSet]{topic: "admin tokens file", log: log}
	if path != "" {
		all.paths = []string{path}
	}
	all.parse = func(contents [][]byte) (tokenSet, error) {
		tokens := slices.Clone(fixed)
		for _, content := range contents {
			var err error
			if tokens, err = parseTokensFile(string(content), tokens); err != nil {
				return tokenSet{}, err
			}
		}
		set := tokenSet{tokens, make(map[[sha256.Size]byte]struct{}, len(tokens))}
		for _, t := range tokens {
			set.digests[t.digest] = struct{}{}
		}
		return set, nil
	}
	if err := all.load(); err != nil {
		return nil, err
	}
	return &Tokens{all}, nil
}

// Run follows the file until ctx ends, and then returns nil.
func (ts *Tokens) Run(ctx context.Context) error { return ts.all.Run(ctx) }

// Problem says what is wrong with the file; "" if nothing is.
func (ts *Tokens) Problem() string { return ts.all.Problem() }

func (ts *Tokens) set() tokenSet { return *ts.all.current.Load() }

// none reports whether no token is configured at all, not even one that has ended.
func (ts *Tokens) none() bool { return len(ts.set().tokens) == 0 }

// find returns the caller with this token. It takes the same time for every token. If
// the token has ended, it returns the caller, but ok is false.
func (ts *Tokens) find(secret string) (found caller, ok bool) {
	if len(secret) < minToken || len(secret) > maxToken || strings.ContainsFunc(secret, neverInToken) {
		return caller{}, false
	}
	digest := sha256.Sum256([]byte(secret))
	for _, t := range ts.set().tokens {
		if subtle.ConstantTimeCompare(digest[:], t.digest[:]) == 1 {
			found, ok = t.caller, true
		}
	}
	return found, ok && (found.until.IsZero() || time.Now().Before(found.until))
}

func neverInToken(r rune) bool { return r <= ' ' || r > '~' || r == ',' }

var tokenName = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,64}$`)

// ParseTokens reads "name:role:token,…"; the roles are viewer, operator and admin. A
// token has 32 to 512 characters of visible ASCII without commas. An error names the
// entry, but contains no part of any token, not even of one in the wrong place.
func ParseTokens(s string) ([]Token, error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	var tokens []Token
	for i, entry := range strings.Split(s, ",") {
		parsed, err := parseToken(strings.TrimSpace(entry))
		if err == nil {
			err = checkToken(tokens, parsed)
		}
		if err != nil {
			return nil, fmt.Errorf("token %d%s: %w", i+1, parsed.shown(), err)
		}
		tokens = append(tokens, parsed)
	}
	return tokens, nil
}

func parseToken(entry string) (Token, error) {
	parts := strings.SplitN(entry, ":", 3)
	if len(parts) != 3 {
		return Token{}, errors.New("want name:role:token")
	}
	who, err := parseCaller(parts[0], parts[1])
	secret := parts[2]
	t := Token{caller: who, digest: sha256.Sum256([]byte(secret))}
	switch {
	case err != nil:
		return t, err
	case len(secret) < minToken || len(secret) > maxToken:
		return t, fmt.Errorf("the token must have %d to %d characters, it has %d", minToken, maxToken, len(secret))
	case strings.ContainsFunc(secret, neverInToken):
		return t, errors.New("the token must be visible ASCII")
	}
	return t, nil
}

// checkToken compares a token with those before it.
func checkToken(before []Token, t Token) error {
	for i, other := range before {
		switch {
		case other.name == t.name:
			return fmt.Errorf("token %d has the same name", i+1)
		case other.digest == t.digest:
			return fmt.Errorf("it is the same token as token %d", i+1)
		}
	}
	return nil
}

// parseTokensFile appends the tokens of a file to those before it. A line is
// name:role:digest or name:role:digest:end. A token may occur several times if the
// name and role are the same, and is valid until the latest of its ends.
func parseTokensFile(content string, before []Token) ([]Token, error) {
	tokens, number, count := before, 0, 0
	for line := range strings.Lines(strings.TrimPrefix(content, "\ufeff")) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if count++; count > maxTokens {
			return nil, fmt.Errorf("line %d: a file may hold at most %d tokens", number, maxTokens)
		}
		parsed, err := parseTokenLine(line)
		if err == nil {
			tokens, err = addToken(tokens, parsed)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d%s: %w", number, parsed.shown(), err)
		}
	}
	return tokens, nil
}

func parseTokenLine(line string) (Token, error) {
	parts := strings.SplitN(line, ":", 4)
	if len(parts) < 3 {
		return Token{}, errors.New("want name:role:digest or name:role:digest:end")
	}
	who, err := parseCaller(parts[0], parts[1])
	t := Token{caller: who}
	if err != nil {
		return t, err
	}
	digest, err := hex.DecodeString(parts[2])
	if err != nil || len(digest) != sha256.Size {
		return t, errors.New("the third part must be the SHA-256 of the token, 64 hex digits; api token new prints such a line")
	}
	t.digest = [sha256.Size]byte(digest)
	if len(parts) == 4 {
		if t.until, err = time.Parse(time.RFC3339, parts[3]); err != nil {
			return t, errors.New("the end must be a time such as 2030-01-31T12:00:00Z")
		}
	}
	return t, nil
}

func addToken(tokens []Token, t Token) ([]Token, error) {
	i := slices.IndexFunc(tokens, func(other Token) bool { return other.digest == t.digest })
	switch {
	case i < 0:
		return append(tokens, t), nil
	case tokens[i].name != t.name || tokens[i].role != t.role:
		return nil, errors.New("the same token exists with another name or role, in a line above or in ADMIN_TOKENS")
	}
	if known := &tokens[i]; t.until.IsZero() || !known.until.IsZero() && t.until.After(known.until) {
		known.until = t.until
	}
	return tokens, nil
}

// parseCaller returns what it could read even with an error, so that the message can
// name the caller.
func parseCaller(name, roleName string) (caller, error) {
	if !tokenName.MatchString(name) {
		return caller{}, errors.New("the name must be 1 to 64 letters, digits, '_', '.' and '-'")
	}
	c := caller{name: name, role: role(slices.Index(roleNames[viewer:], roleName)) + viewer}
	if c.role < viewer {
		return c, errors.New("the role must be viewer, operator or admin")
	}
	return c, nil
}

// shown returns the name in a form that is safe in errors. It omits a long name, which
// may be a token in the wrong place.
func (t Token) shown() string {
	if t.name == "" || len(t.name) >= minToken {
		return ""
	}
	return fmt.Sprintf(" (%q)", t.name)
}

// The tokens that [NewToken] makes begin with madePrefix; the rest is base32, in upper
// case.
const (
	madePrefix = "pst_"
	madeLength = 56 // with the prefix
)

// NewToken makes a token, and the line with its digest for the tokens file. The token
// has 260 random bits, and begins with "pst_", so that scanners for leaked secrets
// recognise it. A zero end means that it has no end. It fails if the name or the role
// is malformed.
func NewToken(name, roleName string, end time.Time) (secret, line string, err error) {
	if _, err := parseCaller(name, roleName); err != nil {
		return "", "", err
	}
	secret = madePrefix + rand.Text() + rand.Text()
	line = fmt.Sprintf("%s:%s:%x", name, roleName, sha256.Sum256([]byte(secret)))
	if !end.IsZero() {
		line += ":" + end.UTC().Format(time.RFC3339)
	}
	return secret, line, nil
}
