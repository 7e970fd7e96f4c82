package proxies

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"platform-settings/test/pgtest"
	"platform-settings/test/pod"
)

// fleet is three pods, and the addresses that replace those in the files.
type fleet struct {
	pods      []*pod.Pod
	platform  *upstream
	addresses map[string]string
}

// newFleet starts pods that are only asked for a verdict, or that pass requests on to
// the platform.
func newFleet(t *testing.T, podsPassOn bool) *fleet {
	t.Helper()
	f := &fleet{platform: newUpstream(t)}
	variables := []string{"TRUSTED_PROXIES=127.0.0.1", "CORS_ORIGINS=" + shop}
	if podsPassOn {
		variables = append(variables, "UPSTREAM_URL="+f.platform.URL)
	}
	f.pods = pod.Fleet(t, 3, pgtest.Database(t), variables...)
	f.addresses = map[string]string{platform: f.platform.address()}
	for i, p := range f.pods {
		f.addresses[fmt.Sprintf("127.0.0.1:808%d", i+1)] = p.Addr()
		f.addresses[fmt.Sprintf("pod-%d:8080", i+1)] = p.Addr()
	}
	return f
}

// maintain sets maintenance, and returns once every pod has it in force.
func (f *fleet) maintain(t *testing.T, maintenance string) {
	t.Helper()
	p := f.pods[len(f.pods)-1]
	r, err := http.NewRequest("PUT", p.URL("/api/v1/admin/maintenance"), strings.NewReader(maintenance))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+pod.Admin)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Prefer", "wait=30")
	response, err := p.Client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if a := readAnswer(t, response); a.status != 200 {
		t.Fatalf("PUT maintenance %s: %d %s", maintenance, a.status, a.body)
	}
}

// awaitProbes waits until each pod's health has been probed a few more times, so that
// a proxy that misreads the answer has taken the pod out by then.
func (f *fleet) awaitProbes(t *testing.T) {
	t.Helper()
	probes := func(p *pod.Pod) int { return strings.Count(p.Log(), `"path":"/readyz"`) }
	enough := map[*pod.Pod]int{}
	for _, p := range f.pods {
		enough[p] = probes(p) + 3
	}
	deadline := time.Now().Add(patience)
	for _, p := range f.pods {
		for ; probes(p) < enough[p]; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("the health of the pod at %s is not probed", p.Addr())
			}
		}
	}
}

// shop is an origin whose scripts may read the pods' answers.
const shop = "https://shop.example"

const (
	open     = `{"enabled":false}`
	closed   = `{"enabled":true,"message":"Back at ten"}`
	readOnly = `{"enabled":true,"read_only":true,"message":"Back at ten"}`
)
