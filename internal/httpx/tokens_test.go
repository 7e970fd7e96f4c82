package httpx

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var longAgo = time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)

// newFile writes a temporary file, and returns its path.
func newFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// lineOf returns a token's line in a tokens file; rest follows the digest.
func lineOf(name, role, secret, rest string) string {
	return fmt.Sprintf("%s:%s:%x%s\n", name, role, sha256.Sum256([]byte(secret)), rest)
}

func TestTokensAreParsed(t *testing.T) {
	for _, none := range []string{"", "  "} {
		if tokens, err := ParseTokens(none); len(tokens) != 0 || err != nil {
			t.Errorf("ParseTokens(%q) = %v, %v", none, tokens, err)
		}
	}
	tokens := testTokens(t)
	for secret, want := range map[string]caller{
		viewerToken: {name: "vera", role: viewer}, operatorToken: {name: "otto", role: operator}, adminToken: {name: "ada", role: administrator},
	} {
		if got, ok := tokens.find(secret); !ok || got != want {
			t.Errorf("find = %v, %t, want %v", got, ok, want)
		}
	}
	for _, wrong := range []string{"", wrongToken, viewerToken + "x", viewerToken[1:]} {
		if got, ok := tokens.find(wrong); ok {
			t.Errorf("find(%q) = %v", wrong, got)
		}
	}
}

func TestRefusedTokensAreNamedAndNotShown(t *testing.T) {
	const secret = "S3CRET-0123456789-0123456789-0123456789"
	good := "ada:admin:" + adminToken
	for entries, want := range map[string]string{
		secret:                                    `token 1: want name:role:token`,
		"ada:" + secret:                           `token 1: want name:role:token`,
		good + ",":                                `token 2: want name:role:token`,
		good + ",bob:root:" + secret:              `token 2 ("bob"): the role must be`,
		good + ",bob:Admin:" + secret:             `token 2 ("bob"): the role must be`,
		"bob:" + secret + ":admin":                `token 1 ("bob"): the role must be`,
		secret + ":admin:bob":                     `token 1: the token must have 32 to 512 characters, it has 3`,
		secret + ":bob:admin":                     `token 1: the role must be`,
		"bob!:admin:" + secret:                    `token 1: the name must be`,
		":admin:" + secret:                        `token 1: the name must be`,
		"bob:admin:" + secret[:31]:                `token 1 ("bob"): the token must have 32 to 512 characters, it has 31`,
		"bob:admin:":                              `token 1 ("bob"): the token must have 32 to 512 characters, it has 0`,
		"bob:admin:" + strings.Repeat(secret, 14): `token 1 ("bob"): the token must have 32 to 512 characters, it has 546`,
		"bob:admin:" + secret + " " + secret:      `token 1 ("bob"): the token must be visible ASCII`,
		"bob:admin:" + secret + "é":               `token 1 ("bob"): the token must be visible ASCII`,
		good + ",ada:viewer:" + secret:            `token 2 ("ada"): token 1 has the same name`,
		good + ",bob:viewer:" + adminToken:        `token 2 ("bob"): it is the same token as token 1`,
	} {
		tokens, err := ParseTokens(entries)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("ParseTokens(%q) = %v, want %s", entries, err, want)
			continue
		}
		if tokens != nil || strings.Contains(err.Error(), "S3CRET") || strings.Contains(err.Error(), adminToken[:8]) {
			t.Errorf("ParseTokens(%q) = %v, %v", entries, tokens, err)
		}
	}
	if shown := fmt.Sprintf("%v %+v", testTokens(t), testTokens(t)); strings.Contains(shown, viewerToken) {
		t.Errorf("printing tokens shows them: %s", shown)
	}
}

func TestTokensOfAFileJoinThoseOfTheVariable(t *testing.T) {
	made, line, err := NewToken("eve", "operator", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	shared := lineOf("vera", "viewer", viewerToken, ":2020-01-02T03:04:05Z") // the same token without an end is in the variable
	other, lasting := "other-"+viewerToken, "lasting-"+viewerToken
	content := "\ufeff# made by hand\r\n\r\n  " + line + "\r\n\t#x\n" + shared +
		lineOf("ada", "admin", other, ":2020-01-02T03:04:05Z") + lineOf("ada", "admin", other, ":2999-01-02T03:04:05.5+02:00") +
		lineOf("leo", "viewer", lasting, ":2020-01-02T03:04:05Z") + lineOf("leo", "viewer", lasting, "")
	tokens := loadTokens(t, "vera:viewer:"+viewerToken+",ada:viewer:"+adminToken, newFile(t, content))
	for secret, want := range map[string]caller{
		viewerToken: {name: "vera", role: viewer},
		adminToken:  {name: "ada", role: viewer},
		made:        {name: "eve", role: operator},
		lasting:     {name: "leo", role: viewer},
		other:       {name: "ada", role: administrator, until: time.Date(2999, 1, 2, 1, 4, 5, 5e8, time.UTC)},
	} {
		got, ok := tokens.find(secret)
		got.until = got.until.UTC()
		if want.until = want.until.UTC(); !ok || got != want {
			t.Errorf("find = %v, %t, want %v", got, ok, want)
		}
	}
	if _, ok := tokens.find(made[:len(made)-1]); ok {
		t.Error("a part of a token was taken for it")
	}
	if empty := loadTokens(t, "", newFile(t, "# nobody\n\n")); !empty.none() || tokens.none() {
		t.Errorf("none = %t and %t", empty.none(), tokens.none())
	}
}

func TestARefusedTokensFileNamesTheLineAndShowsNoSecret(t *testing.T) {
	const secret = "S3CRET-0123456789-0123456789-0123456789"
	digest := fmt.Sprintf("%x", sha256.Sum256([]byte(secret)))
	good := "# tokens\n" + lineOf("ada", "admin", secret, "")
	for content, want := range map[string]string{
		good + secret:                                            `line 3: want name:role:digest or`,
		good + "bob:admin":                                       `line 3: want name:role:digest or`,
		good + "bob:admin:" + secret:                             `line 3 ("bob"): the third part must be the SHA-256`,
		good + "bob:admin:" + digest[1:]:                         `line 3 ("bob"): the third part must be the SHA-256`,
		good + "bob:admin:" + digest + "ab":                      `line 3 ("bob"): the third part must be the SHA-256`,
		good + "bob:root:" + digest:                              `line 3 ("bob"): the role must be`,
		good + secret + ":root:" + digest:                        `line 3: the role must be`,
		good + "b!:admin:" + digest:                              `line 3: the name must be`,
		good + digest + ":admin:bob":                             `line 3: the third part must be`,
		good + "bob:admin:" + digest + ":":                       `line 3 ("bob"): the end must be a time such as`,
		good + "bob:admin:" + digest + ":tomorrow":               `line 3 ("bob"): the end must be a time such as`,
		good + "bob:admin:" + digest + ":" + secret:              `line 3 ("bob"): the end must be a time such as`,
		good + "\n" + lineOf("bob", "admin", secret, ""):         `line 4 ("bob"): the same token exists with another name or role`,
		good + lineOf("ada", "viewer", secret, ""):               `line 3 ("ada"): the same token exists with another name or role`,
		good + lineOf("bob", "viewer", viewerToken, ""):          `line 3 ("bob"): the same token exists with another name or role, in a line above or in ADMIN_TOKENS`,
		strings.Repeat(lineOf("ada", "admin", secret, ""), 1001): `line 1001: a file may hold at most 1000 tokens`,
		strings.Repeat("#\n", 1<<19) + "#":                       "larger than 1048576 bytes",
	} {
		fixed, err := ParseTokens("vera:viewer:" + viewerToken)
		if err != nil {
			t.Fatal(err)
		}
		_, err = parseTokensFile(content, fixed)
		if err == nil {
			_, err = readFile(newFile(t, content))
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.200q: %v, want %s", content, err, want)
		} else if line := err.Error(); strings.Contains(line, "S3CRET") || strings.Contains(line, digest[:8]) || strings.Contains(line, "\n") {
			t.Errorf("the error shows too much: %s", line)
		}
	}
}

func TestATokenIsValidUntilItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		made, line, err := NewToken("eve", "viewer", time.Now().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		tokens := loadTokens(t, "", newFile(t, line))
		time.Sleep(time.Hour - time.Nanosecond)
		if who, ok := tokens.find(made); !ok || who.name != "eve" {
			t.Errorf("before its end: %v, %t", who, ok)
		}
		time.Sleep(time.Nanosecond)
		if who, ok := tokens.find(made); ok || who.name != "eve" {
			t.Errorf("at its end: %v, %t", who, ok)
		}
		if !tokens.in("x " + made) {
			t.Error("an ended token of ours is let through to the upstream")
		}
	})
}

func TestATokenIsNewEachTime(t *testing.T) {
	a, line, err := NewToken("ci.deploy-1", "operator", time.Time{})
	b, _, _ := NewToken("ci.deploy-1", "operator", time.Time{})
	if err != nil || a == b || len(a) < 40 || !strings.HasPrefix(a, "pst_") || strings.Trim(a[4:], "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
		t.Errorf("tokens %q and %q, %v", a, b, err)
	}
	if line+"\n" != lineOf("ci.deploy-1", "operator", a, "") {
		t.Errorf("line %q", line)
	}
	for _, bad := range [][2]string{{"", "admin"}, {"a b", "admin"}, {"a:b", "admin"}, {"a", ""}, {"a", "root"}} {
		if _, _, err := NewToken(bad[0], bad[1], time.Time{}); err == nil {
			t.Errorf("NewToken(%q, %q) went well", bad[0], bad[1])
		}
	}
}
