//go:build !race

package store

const (
	manyRows   = 100_000 // a full history of runs; and a hundredth of that in jobs
	killRounds = 30
)
