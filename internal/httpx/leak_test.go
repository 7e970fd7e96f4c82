package httpx

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// awkward is a token of every character that a token may have.
func awkward() string {
	var b strings.Builder
	for c := '!'; c <= '~'; c++ {
		if c != ',' {
			b.WriteRune(c)
		}
	}
	return b.String()
}

func percentEncoded(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, "%%%02x", c)
	}
	return b.String()
}

func TestATokenOfOursIsFoundInAnyForm(t *testing.T) {
	made, line, err := NewToken("ada", "admin", longAgo)
	if err != nil {
		t.Fatal(err)
	}
	secrets := []string{
		"viewer-token-0123456789abcdef0123",
		"operator:token-0123456789abcdef01",
		"6f1ed002-ab5f-4d4b-8e2b-cf2f60f32b5e",
		"q83vEjRWeJCrze8SNFZ4kKvN7/I0+niQq83vEjRWeJA=", // openssl rand -base64 32
		"/+3vEjRWeJCrze8SNFZ4kKvN7/I0+niQq83vEjRWeA==",
		"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJlLXNpZ25hdHVyZQ",
		"a=b:c=d.e~f/g+0123456789abcdef0123456789",
		strings.Repeat("0123456789", maxToken/10),
		awkward(),
	}
	var entries []string
	for i, secret := range secrets {
		entries = append(entries, fmt.Sprintf("t%d:viewer:%s", i, secret))
	}
	tokens := loadTokens(t, strings.Join(entries, ","), newFile(t, line))
	std, raw := base64.StdEncoding.EncodeToString, base64.RawStdEncoding.EncodeToString
	urls, rawURL := base64.URLEncoding.EncodeToString, base64.RawURLEncoding.EncodeToString
	for _, secret := range append(secrets, made) {
		pair := "user:" + secret
		texts := []string{
			secret, "Bearer " + secret, "bearer " + secret, "Token " + secret, "Bearer\t" + secret, "Bearer    " + secret + "  ",
			`"` + secret + `"`, `Bearer "` + secret + `"`, `Bearer '` + secret + `'`, `token="` + secret + `"`,
			"Bearer other," + secret, "Basic dXNlcg==, Bearer " + secret + ", x", "a=1; session=" + secret + "; b=2", `session="` + secret + `"; b=2`,
			"/?access_token=" + secret, "/" + secret, "/v1/" + secret,
			pair, secret + ":", "Bearer=" + secret, "Bearer:" + secret, secret + ";;", secret + "\t;", secret + "==",
			"/?q=" + percentEncoded(secret), "/?q=" + url.QueryEscape(url.QueryEscape(secret)),
			"/?q=Bearer%20" + url.QueryEscape(secret) + "%20x", "%22" + percentEncoded(secret) + "%22",
			"Basic " + std([]byte(pair)), "Basic " + raw([]byte(pair)), "basic " + urls([]byte(pair)), "Basic " + rawURL([]byte(pair)),
			"Basic " + std([]byte(secret+":")), "Basic " + std([]byte(secret)), "Basic " + raw([]byte(secret)), urls([]byte(secret)), rawURL([]byte(secret)),
			"session=" + std([]byte(secret)) + "; a=b", "/?q=" + url.QueryEscape(std([]byte(pair))), "/x/" + rawURL([]byte(secret)) + "/y",
			"Basic " + std([]byte(std([]byte(pair)))), "Basic " + std([]byte("user:"+percentEncoded(secret))),
			strings.Repeat("x ", 20<<10) + secret, strings.Repeat("0123456789abcdef0123456789abcdef; ", 1<<10) + secret,
		}
		if secret != awkward() { // it has too many separators for these
			texts = append(texts,
				"session="+secret+";b=2", "/orders?access_token="+secret+"&x=1", "http://user:"+secret+"@host/", "/v1/"+secret+"/x",
				"/?q="+url.QueryEscape(secret)+"&x=%2", "/?q=%22"+percentEncoded(secret)+"%22")
		}
		for _, text := range texts {
			if !tokens.in(text) {
				t.Errorf("not found: %.300q", text)
			}
		}
	}
	// Other words do not use up the work that a word is allowed.
	if text := strings.Repeat(strings.Repeat("a.", 30)+" ", 1<<10) + "/orders?access_token=" + secrets[1] + "&x=1"; !tokens.in(text) {
		t.Error("not found after many words")
	}
}

func TestATokenThatWeMadeIsFoundInWhateverIsAroundIt(t *testing.T) {
	made, line, err := NewToken("ada", "admin", longAgo)
	if err != nil {
		t.Fatal(err)
	}
	if len(made) != madeLength {
		t.Fatalf("a token has %d characters, and the search takes it for %d", len(made), madeLength)
	}
	tokens := loadTokens(t, "", newFile(t, line))
	b64 := base64.URLEncoding.EncodeToString([]byte(made))
	for _, token := range []string{
		made, strings.ToLower(made), strings.ToUpper(made), percentEncoded(made), "%70" + made[1:], percentEncoded(percentEncoded(made)),
		b64, strings.TrimRight(b64, "="), base64.StdEncoding.EncodeToString([]byte("a" + made + "b")), percentEncoded(b64),
	} {
		for _, around := range []string{
			"", "=", ";", "/x/", "&a=b&", "a.b.c.d.e.f.g.h.", `{"a":"`, strings.Repeat("a=0123456789abcdef&", 3<<10), strings.Repeat("a.", 200),
			"a", "ab", "abc", "0", "_", "__", "-", "+", "p", "ps", "pst", "pst_", "X-", "A", "AA", "AAA", "7", "\u00e9", "%", "%2",
			strings.Repeat("pst_", 1000), strings.Repeat("A", 1000), wrongToken, made[:len(made)-1],
		} {
			if text := around + token + around; !tokens.in(text) {
				t.Errorf("not found: %.300q", text)
			}
		}
	}
	for _, name := range []string{made, "X-" + made, "x-a" + made + "b", made + "-Id"} {
		if name = http.CanonicalHeaderKey(name); !tokens.inName(name) {
			t.Errorf("not found in the name %q", name)
		}
	}
	other, _, err := NewToken("ada", "admin", longAgo)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{other, "a" + other + "b", made[:len(made)-1], made[1:], made[:10] + "0" + made[11:], made[:10] + "-" + made[10:]} {
		if tokens.in(text) {
			t.Errorf("taken for a token of ours: %q", text)
		}
	}
}

func TestWhatIsNoTokenOfOursIsNotTakenForOne(t *testing.T) {
	tokens := testTokens(t)
	for _, text := range append(browser(),
		"", wrongToken, "Bearer "+wrongToken, viewerToken[1:], viewerToken+"x", "x"+viewerToken,
		viewerToken[:20]+" "+viewerToken[20:], strings.ToUpper(viewerToken), strings.Repeat("%", 100), strings.Repeat("%2", 100), strings.Repeat("=", 64<<10),
		"Basic "+base64.StdEncoding.EncodeToString([]byte("user:"+wrongToken)), percentEncoded(wrongToken), string(make([]byte, 1000)),
	) {
		if tokens.in(text) {
			t.Errorf("taken for a token of ours: %.200q", text)
		}
	}
	if loadTokens(t, "", "").in("Bearer " + viewerToken) {
		t.Error("found a token where none is configured")
	}
}

// browser is a set of header values that browsers usually send.
func browser() []string {
	return []string{
		"/orders/1234?page=2", "shop.example.com", "keep-alive", "max-age=0", `"Chromium";v="124", "Google Chrome";v="124", "Not-A.Brand";v="99"`,
		"?0", `"Linux"`, "1", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36",
		"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7",
		"same-origin", "navigate", "document", "https://shop.example.com/orders?page=1", "gzip, deflate, br, zstd", "en-GB,en;q=0.9,de;q=0.8",
	}
}

func TestSearchingForTokensCostsNothingWhereNoneCanBe(t *testing.T) {
	tokens := testTokens(t)
	for _, text := range browser() {
		if start, _ := nextWord(text, 0); start >= 0 {
			continue
		}
		if n := testing.AllocsPerRun(100, func() { tokens.in(text) }); n != 0 {
			t.Errorf("%g allocations for %q", n, text)
		}
	}
}

func BenchmarkSearchForTokens(b *testing.B) {
	fixed, err := ParseTokens("vera:viewer:" + viewerToken)
	if err != nil {
		b.Fatal(err)
	}
	tokens, err := LoadTokens(fixed, "", nil)
	if err != nil {
		b.Fatal(err)
	}
	session := "session=0123456789abcdef0123456789abcdef0123456789a; theme=dark; _ga=GA1.1.1234567890.1712345678"
	for _, test := range []struct {
		name  string
		texts []string
	}{
		{"browser", browser()},
		{"session", []string{session}},
		{"64KiB", []string{strings.Repeat("0123456789abcdef0123456789abcdef;", 2<<10)}},
		{"64KiB in pieces", []string{strings.Repeat("a.0123456789;", 5<<10)}},
		{"64KiB of words", []string{strings.Repeat("a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.u.v.w.x.y.z.1.2.3.4.5.6 ", 1<<10)}},
		{"64KiB encoded", []string{strings.Repeat("%2541", 13<<10)}},
		{"64KiB of beginnings", []string{strings.Repeat("pst_"+strings.Repeat("A", 52), 1<<10+100)}},
		{"64KiB base64", []string{strings.Repeat("QUFBQUFB", 8<<10)}},
	} {
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for _, text := range test.texts {
					if tokens.in(text) {
						b.Fatal("found")
					}
				}
			}
		})
	}
}
