package filter

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestDateSuffix compares dates with ISO texts (2.7).
func TestDateSuffix(t *testing.T) {
	// 16:10:30, 16:15:35 and 16:21:25 on 18 December 2023.
	rows := parseRows(t, `[
		{"id": 1, "at": {"$date": 1702915830000}},
		{"id": 2, "at": {"$date": 1702916135000}, "in": {"at": {"$date": 1702916135000}}},
		{"id": 3, "at": {"$date": 1702916485000}},
		{"id": 4}
	]`)
	tests := []struct {
		filters string
		want    []string
	}{
		{`[["at.$date", "=", "2023-12-18T16:15:35+00:00"]]`, []string{"2"}},
		{`[["at.$date", "=", "2023-12-18T17:15:35+01:00"]]`, []string{"2"}},
		{`[["at.$date", "=", "2023-12-18T16:15:35"]]`, []string{"2"}}, // without offset: UTC
		{`[["at.$date", "!=", "2023-12-18T16:15:35Z"]]`, []string{"1", "3"}},
		{`[["at.$date", "<", "2023-12-18T16:15:35Z"]]`, []string{"1"}},
		{`[["at.$date", "<=", "2023-12-18T16:15:35Z"]]`, []string{"1", "2"}},
		{`[["at.$date", ">", "2023-12-18T16:15:35Z"]]`, []string{"3"}},
		{`[["at.$date", ">=", "2023-12-18T16:15:35Z"]]`, []string{"2", "3"}},
		{`[["at.$date", ">", "2023-12-18T16:15:34.999999Z"], ["at.$date", "<", "2023-12-18T16:15:35.000001Z"]]`, []string{"2"}},
		{`[["at.$date", ">", "2023-12-18"]]`, []string{"1", "2", "3"}},
		{`[["in.at.$date", ">", "2023-12-18"]]`, []string{"2"}},
		{`[["OR", [["at.$date", "<", "2023-12-18T16:15"], [["at.$date", ">", "2023-12-18T16:20"], ["id", "=", 3]]]]]`, []string{"1", "3"}},
		{`[["at", ">", {"$date": 1702916135000}]]`, []string{"3"}},
		{`[["at.below", ">", {"$date": 1702916135000}]]`, []string{"3"}}, // a date has no fields
	}
	for _, tt := range tests {
		t.Run("2.7 "+tt.filters, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, matching(t, rows, tt.filters)); diff != "" {
				t.Errorf("ids (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDateErrors has the texts of 2.7, and what happens to a field that is no date.
func TestDateErrors(t *testing.T) {
	for _, op := range []string{"~", "in", "nin", "rin", "rnin", "^", "!^", "$", "!$", "C=", "C<"} {
		t.Run("2.7 "+op, func(t *testing.T) {
			_, err := Parse(json.RawMessage(fmt.Sprintf(`[["at.$date", %q, "2023-12-18"]]`, op)), nil)
			wantFailure(t, err, op+": invalid timestamp operation.")
		})
	}
	for value, shown := range map[string]string{
		`"yesterday"`: "yesterday", `""`: "", `5`: "5", `null`: "None", `true`: "True", `["a"]`: "['a']", `{"$date": 1}`: "{'$date': 1}",
	} {
		t.Run("2.7 "+value, func(t *testing.T) {
			_, err := Parse(json.RawMessage(`[["at.$date", "=", `+value+`]]`), nil)
			wantFailure(t, err, shown+": must be an ISO-8601 formatted timestamp string")
		})
	}
	for field, kind := range map[string]string{`"2023-12-18"`: "str", `1702916135000`: "int", `null`: "NoneType", `{"a": 1}`: "dict"} {
		t.Run("2.7 field "+field, func(t *testing.T) {
			rows := one(t, field)
			if got := matching(t, rows, `[["x.$date", "=", "2023-12-18"]]`); len(got) != 0 {
				t.Errorf("matching %v, want none", got)
			}
			_, err := query(rows, `[["x.$date", "<", "2023-12-18"]]`, "")
			wantFailure(t, err, "'<' not supported between instances of '"+kind+"' and 'datetime.datetime'")
		})
	}
}

// TestParseTime reads times as Python 3.13's datetime.fromisoformat does; what it refuses is refused.
func TestParseTime(t *testing.T) {
	good := map[string]string{
		"2023-12-18":                       "2023-12-18T00:00:00Z",
		"20231218":                         "2023-12-18T00:00:00Z",
		"2023-12-18T16:15:35":              "2023-12-18T16:15:35Z",
		"2023-12-18 16:15:35":              "2023-12-18T16:15:35Z",
		"2023-12-18é16:15":                 "2023-12-18T16:15:00Z",
		"2023-12-18T16":                    "2023-12-18T16:00:00Z",
		"2023-12-18T1615":                  "2023-12-18T16:15:00Z",
		"20231218T161535.5":                "2023-12-18T16:15:35.5Z",
		"2023-12-18T16:15:35,123456789":    "2023-12-18T16:15:35.123456Z",
		"2023-12-18T16:15.5":               "2023-12-18T16:15:00.5Z",
		"2023-12-18T16.5":                  "2023-12-18T16:00:00.5Z",
		"2023-12-18T16Z":                   "2023-12-18T16:00:00Z",
		"2023-12-18T16:15:35+01":           "2023-12-18T15:15:35Z",
		"2023-12-18T16:15:35+0130":         "2023-12-18T14:45:35Z",
		"2023-12-18T16:15:35-01:30":        "2023-12-18T17:45:35Z",
		"2023-12-18T16:15:35+01:30:15.5":   "2023-12-18T14:45:19.5Z",
		"2023-12-18T16:15:35+23:59":        "2023-12-17T16:16:35Z",
		"2023-W01":                         "2023-01-02T00:00:00Z",
		"2023W01":                          "2023-01-02T00:00:00Z",
		"2023-W01-3":                       "2023-01-04T00:00:00Z",
		"2023W013":                         "2023-01-04T00:00:00Z",
		"2020-W53-7":                       "2021-01-03T00:00:00Z",
		"2023-W01T10":                      "2023-01-02T10:00:00Z",
		"2024-02-29":                       "2024-02-29T00:00:00Z",
		"0001-01-01":                       "0001-01-01T00:00:00Z",
		"9999-12-31T23:59:59.999999+00:00": "9999-12-31T23:59:59.999999Z",
	}
	for text, want := range good {
		at, ok := parseTime(text)
		if got := at.Format(time.RFC3339Nano); !ok || got != want {
			t.Errorf("%q is %s, %t, want %s", text, got, ok, want)
		}
	}
	for _, text := range []string{
		"", "2023", "2023-12", "2023-1218", "202312-18", "2023-02-29", "2023-13-01", "2023-00-01", "2023-01-00", "0000-01-01",
		" 2023-12-18", "2023-12-18 ", "+2023-12-18", "٢٠٢٣-12-18", "2023121810", "2023-12-18T", "2023-12-18Z", "2023-12-18T24:00",
		"2023-12-18T23:60", "2023-12-18T23:59:60", "2023-12-18T2359:59", "2023-12-18T23:5959", "2023-12-18T16:15:", "2023-12-18T16:",
		"2023-12-18T16:15:35.", "2023-12-18T16:15:35z", "2023-12-18T16:15:35+", "2023-12-18T16:15:35+1", "2023-12-18T16:15:35+24:00",
		"2023-12-18T16:15:35+01:3", "2023-W53", "2023-W00", "2023-W1", "2023-W01-8", "2023-W01-0", "2023-W013", "2023W01-3",
	} {
		if at, ok := parseTime(text); ok {
			t.Errorf("%q is %s, want nothing", text, at)
		}
	}
}
