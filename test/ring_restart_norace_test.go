//go:build !race

package test

// manyListeners is how many listeners a restart of the server is tried with.
const manyListeners = 100
