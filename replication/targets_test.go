package replication_test

import (
	"strings"
	"testing"

	"github.com/zferry/zferry/replication"
)

// TestTargets_3_8 holds truenas-api.md 3.8.
func TestTargets_3_8(t *testing.T) {
	tests := []struct{ name, sources, want string }{
		{"one", "tank/a/b", "backup/x"},
		{"siblings", "tank/a tank/b/c", "backup/x/a backup/x/b/c"},
		{"a source is the base", "tank/a tank/a/b", "backup/x backup/x/b"},
		{"names that only begin alike", "tank/data tank/database", "backup/x/data backup/x/database"},
		{"two pools", "tank/a flash/a", "backup/x/tank/a backup/x/flash/a"},
		{"the same twice", "tank/a tank/a", "backup/x backup/x"},
		{"none", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.Join(replication.Targets(strings.Fields(tt.sources), "backup/x"), " ")
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
