//go:build race

package settings

const raceDetector = true
