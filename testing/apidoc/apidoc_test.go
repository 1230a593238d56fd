package apidoc

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDocument holds docs/openrpc.json to the methods that are there.
func TestDocument(t *testing.T) {
	want, err := Document()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../docs/openrpc.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("docs/openrpc.json is not what 'make api-doc' makes (-want +got):\n%s", diff)
	}
}

// TestDocumented: every method is described, every argument of replication and of core.* is, and the document is what its standard asks for.
func TestDocumented(t *testing.T) {
	text, err := Document()
	if err != nil {
		t.Fatal(err)
	}
	type schema struct {
		Description string
		Properties  map[string]json.RawMessage
		Items       json.RawMessage
	}
	var document struct {
		OpenRPC string
		Methods []struct {
			Name, Summary, ParamStructure string
			Params                        []struct {
				Name, Description string
				Schema            json.RawMessage
			}
			Result *struct{ Schema json.RawMessage }
			Roles  []string `json:"x-roles"`
		}
	}
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	var check func(path string, raw json.RawMessage)
	check = func(path string, raw json.RawMessage) {
		var s schema
		if err := json.Unmarshal(raw, &s); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for name, p := range s.Properties {
			var inner schema
			if err := json.Unmarshal(p, &inner); err != nil || inner.Description == "" {
				t.Errorf("%s.%s is not described (%v)", path, name, err)
			}
			check(path+"."+name, p)
		}
	}
	for _, m := range document.Methods {
		if m.Summary == "" || m.Roles == nil || m.Result == nil || m.ParamStructure != "by-position" {
			t.Errorf("%s is not described in full", m.Name)
		}
		if namespace, _, _ := strings.Cut(m.Name, "."); !slices.Contains([]string{"core", "replication", "keychain", "keychaincredential"}, namespace) {
			continue
		}
		for _, p := range m.Params {
			if p.Description == "" {
				t.Errorf("%s: argument %s is not described", m.Name, p.Name)
			}
			check(m.Name+": "+p.Name, p.Schema)
		}
	}
	if !strings.HasPrefix(document.OpenRPC, "1.") || len(document.Methods) < 20 {
		t.Errorf("OpenRPC %q, %d methods", document.OpenRPC, len(document.Methods))
	}
}
