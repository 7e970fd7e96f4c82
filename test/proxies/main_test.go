// Package proxies runs real proxies with the files in deploy/proxies, before and
// beside pods on a real PostgreSQL. A proxy that is not installed is skipped, or
// fails if CI is set.
package proxies

import (
	"flag"
	"os"
	"testing"

	"platform-settings/test/pgtest"
	"platform-settings/test/pod"
)

func TestMain(m *testing.M) {
	// The tests wait more than they work. -parallel still counts.
	_ = flag.Set("test.parallel", "4")
	code := pgtest.Main(m)
	pod.Clean()
	os.Exit(code)
}
