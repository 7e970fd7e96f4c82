package httpx

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOurPathsNeverFallThroughToTheUpstream(t *testing.T) {
	address, asked := upstream(t, nil)
	s := serve(t, func(c *Config) { c.Upstream = address })
	const reads = "GET, HEAD, OPTIONS"
	for path, allow := range map[string]string{
		"/livez": reads, "/readyz": reads, "/metrics": reads,
		"/api/v1/maintenance": reads, "/api/v1/settings": reads, "/api/v1/settings/maintenance_mode": reads,
		"/api/v1/admin/maintenance":               "GET, HEAD, OPTIONS, PUT",
		"/api/v1/admin/settings/maintenance_mode": "DELETE, GET, HEAD, OPTIONS, PUT",
	} {
		for _, method := range []string{"POST", "PATCH", "TRACE", "PROPFIND", "BREW"} {
			a := s.do(t, request{method: method, path: path, token: viewerToken})
			a.wantProblem(t, 405, "method-not-allowed")
			if got := a.header.Get("Allow"); got != allow {
				t.Errorf("%s %s: Allow is %q, want %q", method, path, got, allow)
			}
		}
		if a := s.do(t, request{method: "OPTIONS", path: path, token: viewerToken}); a.status != 204 || a.header.Get("Allow") != allow {
			t.Errorf("OPTIONS %s: %d, Allow %q", path, a.status, a.header.Get("Allow"))
		}
		head, get := s.do(t, request{method: "HEAD", path: path, token: viewerToken}), s.get(t, path, viewerToken)
		if head.status != 200 || head.body != "" || head.header.Get("Content-Type") != get.header.Get("Content-Type") {
			t.Errorf("HEAD %s: %d %q %v", path, head.status, head.body, head.header)
		}
	}
	if paths := asked(); paths != nil {
		t.Errorf("the upstream was asked for %v", paths)
	}
}

// Other spellings of our paths must not get around the gate, nor take a token to the
// upstream.
func TestNoSpellingOfAnOwnPathReachesTheUpstream(t *testing.T) {
	address, asked := upstream(t, nil)
	s := serve(t, func(c *Config) { c.Upstream = address })
	for path, want := range map[string]int{
		"//api/v1/admin/maintenance":                      404,
		"/api//v1/admin/maintenance":                      404,
		"/./api/v1/admin/maintenance":                     404,
		"/x/../api/v1/admin/maintenance":                  404,
		"/x/%2e%2e/api/v1/admin/maintenance":              404,
		"/api/v1/%61dmin/maintenance":                     404,
		"/api/v1%2Fadmin%2Fmaintenance":                   404,
		"/api/v1/settings/../admin/maintenance":           404,
		"/api/v1/settings/..%2Fadmin%2Fmaintenance":       404,
		"/api/v1/settings/maintenance_mode/":              404,
		"/api/v1/settings/":                               404,
		"/api/v1/settings//":                              404,
		"/api/v1/settings/a/b":                            404,
		"/api/v1/settings/a%2Fb":                          404,
		"/api/v1/settings/maintenance%5Fmode":             200, // the same path by RFC 3986
		"/api/v1/admin/../admin/maintenance":              404,
		"/api/v1/admin/maintenance/":                      404,
		"/api/v1/admin/settings/maintenance_mode%2Fmore":  404,
		"/api/v1/admin/settings/maintenance_mode%00":      404,
		"/api/v1/admin/settings/maintenance_mode/history": 404,
		"/livez/":      404,
		"//livez":      404,
		"/%6Civez":     404,
		"/gate/../x":   404,
		"/gate/%2e%2e": 404,
		"//gate":       404,
	} {
		if a := s.get(t, path, adminToken); a.status != want {
			t.Errorf("%s: %d, want %d: %s", path, a.status, want, a.body)
		}
	}
	if paths := asked(); paths != nil {
		t.Errorf("the upstream was asked for %v", paths)
	}

	ours := []string{"/api/v1/administration", "/api/v1/settingsx", "/api/v1", "/api/v1/", "/gatekeeper", "/livez2", "/a//b", "/a%2Fb/", "/api/v1/maintenance-plans"}
	var want []string
	for _, path := range ours {
		s.get(t, path, "")
		want = append(want, "GET "+path)
	}
	if diff := cmp.Diff(want, asked()); diff != "" {
		t.Errorf("asked of the upstream (-want +got):\n%s", diff)
	}
}

func TestNoSpellingGetsPastTheGate(t *testing.T) {
	address, asked := upstream(t, nil)
	s := serve(t, func(c *Config) { c.Upstream = address })
	s.put(t, "maintenance", `{"enabled":true}`)
	for _, path := range []string{
		"/", "/orders", "//orders", "/livez/../orders", "/livez/orders", "/livez%2Forders", "/livez/..", "/metrics/../orders",
		"/gate%2F..%2Forders", "/x/../gate", "/api/v1/maintenance/../../../orders", "/api/v1/maintenance/", "/orders;/livez", "/orders?/livez", "/api/v1/orders",
	} {
		s.get(t, path, "").wantProblem(t, 503, "maintenance")
	}
	// These begin with paths of ours, so they never reach the upstream.
	for _, path := range []string{"/api/v1/settings/../../../orders", "/api/v1/admin/../../../orders", "/gate/../orders"} {
		if a := s.get(t, path, adminToken); a.status != 404 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	if paths := asked(); paths != nil {
		t.Errorf("the upstream was asked for %v", paths)
	}
}
