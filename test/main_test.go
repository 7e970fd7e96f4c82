// Package test tries the service from outside: pods as processes of the built
// binary, a real PostgreSQL, HTTP and SQL.
package test

import (
	"flag"
	"os"
	"testing"

	"platform-settings/test/pgtest"
	"platform-settings/test/pod"
)

func TestMain(m *testing.M) {
	// The tests that run at the same time wait more than they work. -parallel
	// still counts.
	_ = flag.Set("test.parallel", "4")
	code := pgtest.Main(m)
	pod.Clean()
	os.Exit(code)
}
