package fakezfs

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

// TestMain lets this test binary play zfs, for what only a process of its own shows.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "zfs", "zpool":
		Command()
	}
	goleak.VerifyTestMain(m)
}
