//go:build race

package oracle

import "os"

// If this test has the race detector, the pods are built with it too, because they
// are what is tested. A race that a pod reports ends the round.
func init() { _ = os.Setenv("GOFLAGS", os.Getenv("GOFLAGS")+" -race") }
