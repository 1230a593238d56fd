package plugin

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestManifest holds manifest.json to the methods that are there.
func TestManifest(t *testing.T) {
	want, err := Manifest()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("manifest.json is not what 'make manifest' makes (-want +got):\n%s", diff)
	}
}
