// Package proxies runs real proxies with the files in deploy/proxies, in front of and
// beside pods on a real PostgreSQL. If a proxy is not installed, its tests are
// skipped, or fail if CI is set.
package proxies

import (
	"flag"
	"os"
	"testing"

	"platform-settings/test/pgtest"
	"platform-settings/test/pod"
)

func TestMain(m *testing.M) {
	// The tests wait more than they compute, so run more of them at once than there are
	// cores. -parallel still takes precedence.
	_ = flag.Set("test.parallel", "4")
	code := pgtest.Main(m)
	pod.Clean()
	os.Exit(code)
}
