package httpx

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

var (
	anyScript = regexp.MustCompile(`(?i)<script|<img|<link|src=|url\(|https?://| on[a-z]+=`)
	anyStyle  = regexp.MustCompile(`style-src 'sha256-[A-Za-z0-9+/=]{44}'`)
)

func TestPagesCarryNothingForeign(t *testing.T) {
	s := serve(t, nil)
	pages := []answer{s.get(t, "/", "")}
	s.put(t, "maintenance", `{"enabled":true,"message":"</p><script>alert('1')</script>\nBack \"soon\" & well"}`)
	pages = append(pages, s.do(t, request{method: "GET", path: "/", header: http.Header{"Accept": {"text/html"}}}))
	for i, a := range pages {
		if a.status != []int{200, 503}[i] || a.header.Get("Content-Type") != typeHTML || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("page: %d %v", a.status, a.header)
		}
		if found := anyScript.FindString(a.body); found != "" {
			t.Errorf("page has %q: %s", found, a.body)
		}
		policy := a.header.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'; ") || !anyStyle.MatchString(policy) || strings.Contains(policy, "unsafe") {
			t.Errorf("policy is %s", policy)
		}
		if !strings.Contains(a.body, "<style>"+pageStyle+"</style>") {
			t.Error("the style is not the one that the policy names")
		}
	}
	if want := "&lt;/p&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;\nBack &#34;soon&#34; &amp; well"; !strings.Contains(pages[1].body, want) {
		t.Errorf("the message is not escaped: %s", pages[1].body)
	}
}

func TestTheLandingPageIsOnlyAtTheRoot(t *testing.T) {
	s := serve(t, nil)
	s.get(t, "/index.html", "").wantProblem(t, 404, "not-found")
	a := s.do(t, request{method: "POST", path: "/"})
	a.wantProblem(t, 405, "method-not-allowed")
	if a.header.Get("Allow") != "GET, HEAD, OPTIONS" {
		t.Errorf("Allow is %q", a.header.Get("Allow"))
	}
}
