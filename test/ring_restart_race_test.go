//go:build race

package test

// With the race detector, connecting takes many times the processor time: on a
// busy machine a hundred at once would not be done before they give up. The pace
// is tried without it.
const manyListeners = 25
