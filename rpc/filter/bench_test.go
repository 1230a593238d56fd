package filter

import (
	"fmt"
	"testing"
)

// BenchmarkQuery filters 10,000 rows such as snapshots are, and orders what is left.
func BenchmarkQuery(b *testing.B) {
	type snapshot struct {
		ID         string         `json:"id"`
		Dataset    string         `json:"dataset"`
		Name       string         `json:"snapshot_name"`
		CreateTXG  uint64         `json:"createtxg"`
		Holds      any            `json:"holds"`
		Properties map[string]any `json:"properties"`
	}
	entries := make([]snapshot, 10000)
	for i := range entries {
		dataset := fmt.Sprintf("tank/data%d", i%37)
		name := fmt.Sprintf("auto-2024-%02d-%02d_%02d-00", i%12+1, i%28+1, i%24)
		entries[i] = snapshot{
			ID: dataset + "@" + name, Dataset: dataset, Name: name, CreateTXG: uint64(i*7919) % 100003,
			Properties: map[string]any{"used": map[string]any{"parsed": i * 4096 % 100000}, "creation": map[string]any{"parsed": map[string]any{"$date": i * 1000}}},
		}
	}
	rows, err := Rows(entries)
	if err != nil {
		b.Fatal(err)
	}
	for _, bm := range []struct{ name, filters, options string }{
		{"all", `[]`, `{}`},
		{"equal", `[["dataset", "=", "tank/data3"]]`, `{}`},
		{"several", `[["dataset", "^", "tank/"], ["createtxg", ">", 10], ["OR", [["snapshot_name", "C$", "-00"], ["holds", "!=", null]]]]`, `{}`},
		{"pattern", `[["snapshot_name", "~", "auto-\\d{4}-(?!13)"]]`, `{}`},
		{"ordered", `[["createtxg", ">", 10]]`, `{"order_by": ["dataset", "-createtxg"]}`},
		{"dates", `[["properties.creation.parsed.$date", ">", "1970-01-01T00:00:05"]]`, `{"order_by": ["-properties.creation.parsed"]}`},
		{"selected", `[]`, `{"select": ["id", ["properties.used.parsed", "used"]], "order_by": ["-used"], "limit": 50}`},
	} {
		b.Run(bm.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := query(rows, bm.filters, bm.options); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
