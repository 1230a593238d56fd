package rpc

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type schemaInner struct {
	Deep  []schemaInner    `json:"deep" default:"[]"`
	Names []string         `json:"names" minlen:"1" unique:"true" each_minlen:"2"`
	Map   map[string]int64 `json:"map" default:"{}" max:"9"`
}

type schemaArgs struct {
	ID     int64            `json:"id" min:"1" max:"65535" doc:"number of the task"`
	Mode   *string          `json:"mode" enum:"A,B" default:"null"`
	Text   string           `json:"text" long:"true" minlen:"1" default:"x"`
	Inner  schemaInner      `json:"inner"`
	Any    json.RawMessage  `json:"any,omitempty"`
	Part   Optional[string] `json:"part,omitzero"`
	When   Date             `json:"when"`
	Hidden bool             `json:"hidden" private:"true" default:"false"`
}

// TestSchema: the description says what Bind takes (truenas-api.md 1.4).
func TestSchema_1_4(t *testing.T) {
	var r Registry
	Register(&r, "a.b", Meta{}, func(context.Context, schemaArgs) (Set[string], error) { return nil, nil })
	m, _ := r.Lookup("a.b")
	const inner = `{"type":"object","properties":{` +
		`"deep":{"type":"array","default":[],"items":{"type":"object"}},` +
		`"map":{"type":"object","default":{},"additionalProperties":{"type":"integer","maximum":9}},` +
		`"names":{"type":"array","minItems":1,"uniqueItems":true,"items":{"type":"string","minLength":2,"maxLength":1024}}},` +
		`"required":["names"],"additionalProperties":false`
	want := []string{
		`{"_name_":"id","_required_":true,"description":"number of the task","type":"integer","minimum":1,"maximum":65535}`,
		`{"_name_":"mode","_required_":false,"type":["string","null"],"default":null,"enum":["A","B",null]}`,
		`{"_name_":"text","_required_":false,"type":"string","default":"x","minLength":1}`,
		`{"_name_":"inner","_required_":true,` + inner[1:] + `}`,
		`{"_name_":"any","_required_":false}`,
		`{"_name_":"part","_required_":false,"type":"string","maxLength":1024}`,
		`{"_name_":"when","_required_":true,"type":["object","null"],"properties":{"$date":{"description":"milliseconds since 1970","type":"integer"}},"required":["$date"]}`,
	}
	accepts := m.Accepts()
	if len(accepts) != len(want) {
		t.Fatalf("%d arguments, want %d", len(accepts), len(want))
	}
	for i, w := range want {
		got, err := json.Marshal(accepts[i])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(sorted(t, w), sorted(t, string(got))); diff != "" {
			t.Errorf("argument %d (-want +got):\n%s", i, diff)
		}
	}
	got, err := json.Marshal(m.Returns())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sorted(t, `{"type":"object","properties":{"$set":{"type":"array","items":{"type":"string"}}},"required":["$set"]}`), sorted(t, string(got))); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
}

func sorted(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}
