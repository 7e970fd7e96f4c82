//go:build race

package oracle

import "os"

// With the race detector here, the pods are built with it too: they are what is
// tried. A race that one reports ends the round.
func init() { _ = os.Setenv("GOFLAGS", os.Getenv("GOFLAGS")+" -race") }
