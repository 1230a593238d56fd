//go:build race

package store

// The race detector makes SQLite, in Go, a hundred times slower.
const (
	manyRows   = 5_000
	killRounds = 8
)
