package httpx

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

const shop = "https://shop.example"

func TestAnOriginIsTakenAsBrowsersSendItAndElseTheErrorSaysHow(t *testing.T) {
	for _, good := range []string{
		"*", shop, "http://localhost:5173, https://shop.example:8443", "https://shop.example:80,http://shop.example:443", "https://xn--bcher-kva.example",
		"http://127.0.0.1:3000", "http://[::1]:3000", "https://[::ffff:7f00:1]", "https://a_b.shop-1.example.", "https://1.example", shop + " ,\t" + shop,
	} {
		if o, err := ParseOrigins(good); err != nil || len(o) != strings.Count(good, ",")+1 {
			t.Errorf("ParseOrigins(%q) = %q, %v", good, o, err)
		}
	}
	for bad, advice := range map[string]string{
		"https://*.example": "write * and nothing else", "*,https://a.example": "write * and nothing else", "https://a.example,*": "write * and nothing else",
		"*,*": "write * and nothing else", "https://*": "write * and nothing else", "https://shop.example:*": "write * and nothing else",
		"https://shop.example:443": "write https://shop.example", "http://shop.example:80": "write http://shop.example",
		"http://shop.example:080": "write http://shop.example", "http://shop.example:": "write http://shop.example", "http://h:0": "such as",
		"https://shop.example:08443": "write https://shop.example:8443", "https://bücher.example": "punycode", "https://bücher.example/": "punycode",
		"https://SHOP.example": "write https://shop.example", "HTTPS://shop.example": "write https://shop.example",
		shop + "/": "write https://shop.example", shop + "/path": "write https://shop.example", shop + "?": "write https://shop.example", shop + "#a": "write https://shop.example",
		"https://[0:0::1]": "write https://[::1]", "https://[::FFFF:127.0.0.1]": "write https://[::ffff:7f00:1]", "https://[fe80::1%25eth0]": "such as",
		"https://127.1": "such as", "https://0x7f.0.0.1": "such as", "https://127.0.0.01": "such as", "https://0x7f000001": "such as", "https://300.0.0.1": "such as",
		"shop.example": "such as", "//shop.example": "such as", "ftp://shop.example": "such as", "https://": "such as", "https:shop.example": "such as", "https://:443": "such as",
		"https://shop example": "such as", "https://shop..example": "such as", "https://.example": "such as", "https://shop.example:99999": "such as", "https://a;b": "such as",
		"null": "such as", shop + " https://b.example": "such as", "https://\x00": "such as",
		shop + ",": "take out the comma", ",": "take out the comma", shop + ",,https://b.example": "take out the comma", "": "take out the comma",
		"https://u@shop.example": "leave them out", "https://u:hunter2@shop.example": "leave them out",
	} {
		o, err := ParseOrigins(bad)
		if err == nil {
			t.Errorf("ParseOrigins(%q) = %q", bad, o)
			continue
		}
		said := err.Error()
		if !strings.Contains(said, "not an origin") || strings.ContainsAny(said, "\n\x00") || strings.Contains(said, "hunter2") ||
			!strings.Contains(said+"\n", advice) || strings.Contains(advice, "://") && !strings.HasSuffix(said, advice) {
			t.Errorf("ParseOrigins(%q) fails with %q, want %q in it", bad, said, advice)
		}
	}
}

// readable says whether a browser lets a script of the origin read an answer, and
// the header Retry-After of it.
func (a answer) readable(origin string) bool {
	allowed := a.header.Get("Access-Control-Allow-Origin")
	return (allowed == "*" || allowed == origin) && a.header.Get("Access-Control-Allow-Credentials") == "" &&
		slices.Contains(strings.Split(a.header.Get("Access-Control-Expose-Headers"), ", "), "Retry-After")
}

func TestScriptsOfOtherOriginsReadTheRefusal(t *testing.T) {
	address, asked := upstream(t, nil)
	for _, origins := range []Origins{{shop, "http://localhost:3000"}, {AnyOrigin}} {
		s := serve(t, func(c *Config) { c.Upstream, c.Origins = address, origins })
		s.put(t, "maintenance", `{"enabled":true,"read_only":true}`)
		from := func(method, path string, more ...string) answer {
			h := http.Header{"Origin": {shop}}
			for i := 0; i < len(more); i += 2 {
				h.Set(more[i], more[i+1])
			}
			return s.do(t, request{method: method, path: path, header: h})
		}
		before := len(asked())
		p := from("OPTIONS", "/orders", "Access-Control-Request-Method", "DELETE", "Access-Control-Request-Headers", "content-type,x-shop")
		if p.status != 204 || !p.readable(shop) || p.header.Get("Access-Control-Allow-Methods") != "DELETE" ||
			p.header.Get("Access-Control-Allow-Headers") != "content-type,x-shop" || p.header.Get("Access-Control-Max-Age") != "0" {
			t.Errorf("%v: preflight of what is refused: %d %v", origins, p.status, p.header)
		}
		if a := from("DELETE", "/orders"); a.status != 503 || !a.readable(shop) || a.header.Get("Retry-After") == "" {
			t.Errorf("%v: DELETE: %d %v", origins, a.status, a.header)
		}
		if len(asked()) != before {
			t.Errorf("%v: the upstream was asked", origins)
		}
		// What passes is the platform's to share, its preflight too.
		for _, a := range []answer{from("GET", "/orders"), from("OPTIONS", "/orders", "Access-Control-Request-Method", "GET")} {
			if a.status != 200 || a.header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%v: the platform's answer: %d %v", origins, a.status, a.header)
			}
		}
		s.put(t, "maintenance", `{"enabled":true}`)
		if a := from("OPTIONS", "/orders", "Access-Control-Request-Method", "GET"); a.status != 204 || !a.readable(shop) {
			t.Errorf("%v: preflight of a GET in full maintenance: %d %v", origins, a.status, a.header)
		}
		if a := from("OPTIONS", "/orders"); a.status != 503 || !a.readable(shop) { // no preflight
			t.Errorf("%v: OPTIONS: %d %v", origins, a.status, a.header)
		}
		// A proxy that asks passes these very answers on. 2xx would let the request pass.
		for path, status := range map[string]int{"/gate": 503, "/gate/deny/403": 403, "/gate/deny/401/orders": 401} {
			if a := from("GET", path, "X-Forwarded-Method", "GET"); a.status != status || !a.readable(shop) {
				t.Errorf("%v: a refusal by GET %s: %d %v", origins, path, a.status, a.header)
			}
			if a := from("GET", path, "X-Forwarded-Method", "OPTIONS", "Access-Control-Request-Method", "PUT", "Access-Control-Request-Headers", "x-shop"); a.status != status || !a.readable(shop) ||
				a.header.Get("Access-Control-Allow-Methods") != "PUT" || a.header.Get("Access-Control-Allow-Headers") != "x-shop" {
				t.Errorf("%v: a preflight refused by GET %s: %d %v", origins, path, a.status, a.header)
			}
		}
		for _, path := range []string{"/api/v1/maintenance", "/api/v1/maintenance/page", "/api/v1/settings", "/api/v1/settings/maintenance_mode", "/api/v1/settings/none"} {
			if a := from("GET", path); !a.readable(shop) {
				t.Errorf("%v: GET %s: %v", origins, path, a.header)
			}
			if a := from("OPTIONS", path, "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "authorization"); a.status != 204 || !a.readable(shop) || a.header.Get("Access-Control-Allow-Headers") != "authorization" {
				t.Errorf("%v: preflight of %s: %d %v", origins, path, a.status, a.header)
			}
		}
		for _, path := range []string{"/api/v1/admin/maintenance", "/readyz", "/metrics"} {
			if a := from("GET", path, "Authorization", "Bearer "+adminToken); a.header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%v: GET %s is shared: %v", origins, path, a.header)
			}
		}
	}
}

func TestOthersOriginsReadNothing(t *testing.T) {
	for _, test := range []struct {
		configured Origins
		origin     string
	}{
		{nil, shop},
		{Origins{shop}, "https://evil.example"},
		{Origins{shop}, "https://shop.example.evil.example"},
		{Origins{shop}, "http://shop.example"},
		{Origins{shop}, "https://shop.example:444"},
		{Origins{shop}, "null"},
		{Origins{shop}, ""},
	} {
		s := serve(t, func(c *Config) { c.Origins = test.configured })
		s.put(t, "maintenance", `{"enabled":true}`)
		for _, path := range []string{"/orders", "/gate", "/gate/deny/403", "/api/v1/maintenance", "/api/v1/settings"} {
			for _, method := range []string{"GET", "OPTIONS"} {
				h := http.Header{"Access-Control-Request-Method": {"GET"}}
				if test.origin != "" {
					h.Set("Origin", test.origin)
				}
				a := s.do(t, request{method: method, path: path, header: h})
				if a.header.Get("Access-Control-Allow-Origin") != "" || path == "/orders" && a.status != 503 {
					t.Errorf("%q with %q configured, %s %s: %d %v", test.origin, test.configured, method, path, a.status, a.header)
				}
				// A cache must not hand an answer for one origin to another.
				if varies := strings.Contains(strings.Join(a.header.Values("Vary"), ","), "Origin"); varies != (test.configured != nil) {
					t.Errorf("%q with %q configured, %s %s: Vary is %q", test.origin, test.configured, method, path, a.header.Values("Vary"))
				}
			}
		}
	}
}
