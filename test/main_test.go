// Package test tries the service from outside: pods as processes of the built
// binary, a real PostgreSQL, HTTP and SQL.
package test

import (
	"os"
	"testing"

	"platform-settings/test/pgtest"
	"platform-settings/test/pod"
)

func TestMain(m *testing.M) {
	code := pgtest.Main(m)
	pod.Clean()
	os.Exit(code)
}
