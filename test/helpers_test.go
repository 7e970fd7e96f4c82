package test

import (
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"

	"platform-settings/internal/pgserver"
)

const stopSignal = syscall.SIGTERM

// pgserverConfig is that of servers that a test kills and starts again.
var pgserverConfig = pgserver.Config{}

// serve runs a handler until the test ends and returns its URL.
func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}
