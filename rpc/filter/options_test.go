package filter

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const people = `[
	{"id": 1, "name": "eve", "age": 30, "home": {"town": "B", "zip": "1"}, "tags": ["x"]},
	{"id": 2, "name": "bob", "age": null, "home": {"town": "A"}, "tags": []},
	{"id": 3, "name": "ann", "age": 30, "home": null, "tags": ["y", "z"]},
	{"id": 4, "name": "dan", "age": 7, "home": {"town": "C", "zip": null}},
	{"id": 5, "name": "cat", "home": {"town": "A", "zip": "2"}, "tags": ["w"]}
]`

// TestDefaults holds the defaults of 2.8.
func TestDefaults(t *testing.T) {
	for _, options := range []string{"", "{}"} {
		q, err := Parse(nil, json.RawMessage(options))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(Options{Extra: json.RawMessage("{}")}, q.Options()); diff != "" {
			t.Errorf("options %q (-want +got):\n%s", options, diff)
		}
	}
}

// TestAllOptions reads every option of 2.8.
func TestAllOptions(t *testing.T) {
	q, err := Parse(nil, json.RawMessage(`{"extra": {"a": 1}, "select": ["a", ["b.c", "d"]], "order_by": ["-a"], "count": true,
		"get": false, "offset": 3, "limit": 10000, "force_sql_filters": true}`))
	if err != nil {
		t.Fatal(err)
	}
	want := Options{
		Extra: json.RawMessage(`{"a": 1}`), Select: []Selection{{Path: "a"}, {Path: "b.c", As: "d"}}, OrderBy: []string{"-a"},
		Count: true, Offset: 3, Limit: 10000, ForceSQLFilters: true,
	}
	if diff := cmp.Diff(want, q.Options()); diff != "" {
		t.Errorf("options (-want +got):\n%s", diff)
	}
}

// TestBadOptions refuses options with the texts of the model (2.8, 1.4).
func TestBadOptions(t *testing.T) {
	long := strings.Repeat("é", 1025)
	tests := []struct{ options, attribute, message string }{
		{`null`, "options", "Input should be a valid dictionary or instance of QueryOptions"},
		{`[]`, "options", "Input should be a valid dictionary or instance of QueryOptions"},
		{`{"more": 1}`, "options.more", "Extra inputs are not permitted"},
		{`{"Limit": 1}`, "options.Limit", "Extra inputs are not permitted"},
		{`{"delete_invalid_rows": true}`, "options.delete_invalid_rows", "Extra inputs are not permitted"},
		{`{"extra": []}`, "options.extra", "Input should be a valid dictionary"},
		{`{"extra": null}`, "options.extra", "Input should be a valid dictionary"},
		{`{"count": 1}`, "options.count", "Input should be a valid boolean"},
		{`{"get": "true"}`, "options.get", "Input should be a valid boolean"},
		{`{"force_sql_filters": null}`, "options.force_sql_filters", "Input should be a valid boolean"},
		{`{"offset": "1"}`, "options.offset", "Input should be a valid integer"},
		{`{"offset": 1.0}`, "options.offset", "Input should be a valid integer"},
		{`{"offset": true}`, "options.offset", "Input should be a valid integer"},
		{`{"offset": -1}`, "options.offset", "Input should be greater than or equal to 0"},
		{`{"limit": null}`, "options.limit", "Input should be a valid integer"},
		{`{"limit": 1e3}`, "options.limit", "Input should be a valid integer"},
		{`{"limit": -1}`, "options.limit", "Input should be greater than or equal to 0"},
		{`{"limit": -99999999999999999999}`, "options.limit", "Input should be greater than or equal to 0"},
		{`{"limit": 10001}`, "options.limit", "Value error, limit must not exceed 10000"},
		{`{"limit": 99999999999999999999}`, "options.limit", "Value error, limit must not exceed 10000"},
		{`{"get": true, "limit": 2}`, "options.get", "Value error, get=True is incompatible with limit > 1"},
		{`{"get": true, "limit": 10001}`, "options.limit", "Value error, limit must not exceed 10000"},
		{`{"get": true, "offset": 1}`, "options.get", "Value error, get=True is incompatible with offset"},
		{`{"order_by": "a"}`, "options.order_by", "Input should be a valid list"},
		{`{"order_by": ["a", 1]}`, "options.order_by.1", "Input should be a valid string"},
		{`{"order_by": [""]}`, "options.order_by.0", "Value error, filter_list: order_by field name is empty"},
		{`{"order_by": ["a", "nulls_last:-"]}`, "options.order_by.1", "Value error, filter_list: order_by field name is empty"},
		{`{"order_by": ["` + long + `"]}`, "options.order_by.0", "String should have at most 1024 characters"},
		{`{"select": "a"}`, "options.select", "Input should be a valid list"},
		{`{"select": [1]}`, "options.select.0", "Input should be a valid string or Input should be a valid list"},
		{`{"select": ["a", ["b"]]}`, "options.select.1", "Value error, ['b']: select as list may only contain two parameters"},
		{`{"select": [["a", "b", 1]]}`, "options.select.0", "Value error, ['a', 'b', 1]: select as list may only contain two parameters"},
		{`{"select": [[1, "b"]]}`, "options.select.0", "Value error, [1, 'b']: first item must be a string"},
		{`{"select": [["a", null]]}`, "options.select.0", "Value error, ['a', None]: second item must be a string"},
		{`{"select": ["` + long + `"]}`, "options.select.0", "String should have at most 1024 characters"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("2.8 %.60s", tt.options), func(t *testing.T) {
			_, err := Parse(nil, json.RawMessage(tt.options))
			wantFault(t, err, tt.attribute, tt.message)
		})
	}
}

// TestBadOptionsTogether shows that all faults come at once.
func TestBadOptionsTogether(t *testing.T) {
	_, err := Parse(nil, json.RawMessage(`{"zz": 1, "limit": "a", "aa": 1, "get": 1, "order_by": [1, 2]}`))
	faults, ok := errors.AsType[FieldErrors](err)
	if !ok {
		t.Fatalf("error %v, want faults", err)
	}
	var got []string
	for _, f := range faults {
		got = append(got, f.Attribute)
	}
	want := []string{
		"options.order_by.0", "options.order_by.1", "options.get", "options.limit", "options.aa", "options.zz",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
}

// TestSelect keeps the fields that are asked for (2.8).
func TestSelect(t *testing.T) {
	tests := []struct{ name, filters, options, want string }{
		{"fields", `[["id", "<", 3]]`, `{"select": ["id", "name"]}`, `[{"id": 1, "name": "eve"}, {"id": 2, "name": "bob"}]`},
		{"none is all", `[["id", "=", 2]]`, `{"select": []}`, `[{"id": 2, "name": "bob", "age": null, "home": {"town": "A"}, "tags": []}]`},
		{"rename", `[["id", "=", 1]]`, `{"select": [["id", "number"], ["home.town", "from.where"]]}`, `[{"number": 1, "from.where": "B"}]`},
		{"nested", `[["id", "=", 1]]`, `{"select": ["home.town", "home.zip"]}`, `[{"home": {"town": "B", "zip": "1"}}]`},
		{"missing is left out", `[["id", "=", 5]]`, `{"select": ["id", "age", "zz.a"]}`, `[{"id": 5}]`},
		{"null stays", `[["id", "=", 2]]`, `{"select": ["id", "age"]}`, `[{"id": 2, "age": null}]`},
		{"below null is left out", `[["id", "=", 3]]`, `{"select": ["id", "home.town"]}`, `[{"id": 3}]`},
		{"object and a part of it", `[["id", "=", 1]]`, `{"select": ["home", "home.town"]}`, `[{"home": {"town": "B", "zip": "1"}}]`},
		{"part under a new name and below it", `[["id", "=", 1]]`, `{"select": [["name", "home"], "home.town"]}`, `[{"home": {"town": "B"}}]`},
		{"literal dot", `[["id", "=", 1]]`, `{"select": ["home\\.town", "id"]}`, `[{"id": 1}]`},
		{"twice", `[["id", "=", 1]]`, `{"select": ["id", "id"]}`, `[{"id": 1}]`},
		{"list as a whole", `[["id", "=", 1]]`, `{"select": ["tags"]}`, `[{"tags": ["x"]}]`},
	}
	for _, tt := range tests {
		t.Run("2.8 "+tt.name, func(t *testing.T) {
			rows := parseRows(t, people)
			got, err := query(rows, tt.filters, tt.options)
			if err != nil {
				t.Fatal(err)
			}
			sameJSON(t, got, tt.want)
			sameJSON(t, rows, people)
		})
	}
	// What comes from one field and is written to below another name must not change in the row.
	const two = `[{"a": {"k": 1}, "b": {"k": 2, "l": 3}}]`
	rows := parseRows(t, two)
	got, err := query(rows, "", `{"select": [["b", "a"], "a.k"]}`)
	if err != nil {
		t.Fatal(err)
	}
	sameJSON(t, got, `[{"a": {"k": 1, "l": 3}}]`)
	sameJSON(t, rows, two)
	_, err = query(parseRows(t, people), "", `{"select": ["tags.0"]}`)
	wantFailure(t, err, "filter_list: selecting by list index is not supported")
}

// TestOrder orders rows (2.8).
func TestOrder(t *testing.T) {
	tests := []struct{ name, filters, by, want string }{
		{"text", `[]`, `"name"`, "3 2 5 4 1"},
		{"descending", `[]`, `"-name"`, "1 4 5 2 3"},
		{"nested", `[["home", "!=", null]]`, `"home.town"`, "2 5 1 4"},
		{"stable", `[["home", "!=", null]]`, `"-home.town"`, "4 1 2 5"},
		{"first is primary", `[["home", "!=", null]]`, `"home.town", "-id"`, "5 2 1 4"},
		{"several directions", `[["home", "!=", null]]`, `"-home.town", "-id"`, "4 1 5 2"},
		{"nulls first", `[]`, `"nulls_first:age"`, "2 5 4 1 3"},
		{"nulls last", `[]`, `"nulls_last:age"`, "4 1 3 2 5"},
		{"nulls first, descending", `[]`, `"nulls_first:-age"`, "2 5 1 3 4"},
		{"nulls last, descending", `[]`, `"nulls_last:-age"`, "1 3 4 2 5"},
		{"nulls of a nested path", `[]`, `"nulls_last:home.zip"`, "1 5 2 3 4"},
		{"nulls, then another", `[]`, `"nulls_first:age", "-id"`, "5 2 4 3 1"},
		{"all null", `[]`, `"zz"`, "1 2 3 4 5"},
		{"index in a list", `[]`, `"nulls_last:tags.0"`, "5 1 3 2 4"},
		{"lists", `[]`, `"nulls_first:tags"`, "4 2 5 1 3"},
		{"objects that are the same", `[["id", "=", 1]]`, `"home"`, "1"},
	}
	for _, tt := range tests {
		t.Run("2.8 "+tt.name, func(t *testing.T) {
			got := idsOf(t, parseRows(t, people), tt.filters, `{"order_by": [`+tt.by+`]}`)
			if diff := cmp.Diff(strings.Fields(tt.want), got); diff != "" {
				t.Errorf("ids (-want +got):\n%s", diff)
			}
		})
	}
}

// TestOrderKinds orders values that are neither texts nor plain numbers.
func TestOrderKinds(t *testing.T) {
	tests := []struct{ name, values, want string }{
		{"large integers", `18446744073709551617, 18446744073709551615, 18446744073709551616.0`, "2 3 1"},
		{"booleans and numbers", `2, true, false, 0.5`, "3 4 2 1"},
		{"dates", `{"$date": 10000}, {"$date": 9000}`, "2 1"},
		{"equal objects", `{"a": 1}, {"a": 1.0}`, "1 2"},
	}
	for _, tt := range tests {
		t.Run("2.8 "+tt.name, func(t *testing.T) {
			var values []any
			if err := decode([]byte("["+tt.values+"]"), &values); err != nil {
				t.Fatal(err)
			}
			var rows []map[string]any
			for i, v := range values {
				rows = append(rows, map[string]any{"id": i + 1, "x": v})
			}
			if diff := cmp.Diff(strings.Fields(tt.want), idsOf(t, rows, "", `{"order_by": ["x"]}`)); diff != "" {
				t.Errorf("ids (-want +got):\n%s", diff)
			}
		})
	}
}

// TestOrderErrors shows that keys of different kinds cannot be ordered, also where a key before them decides.
func TestOrderErrors(t *testing.T) {
	for _, by := range []string{`"age"`, `"-home"`, `"id", "age"`, `"nulls_first:home"`} {
		t.Run("2.8 "+by, func(t *testing.T) {
			_, err := query(parseRows(t, people), "", `{"order_by": [`+by+`]}`)
			if err == nil || !strings.HasPrefix(err.Error(), "'<' not supported between instances of ") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestOrderOfWork holds: filter, select, count, order, offset, limit (2.8).
func TestOrderOfWork(t *testing.T) {
	tests := []struct{ name, filters, options, want string }{
		{"count", `[["age", "=", 30]]`, `{"count": true}`, `2`},
		{"count of none", `[["id", "=", 9]]`, `{"count": true}`, `0`},
		{"count ignores offset and limit", `[]`, `{"count": true, "offset": 2, "limit": 1}`, `5`},
		{"count before order", `[]`, `{"count": true, "order_by": ["age"]}`, `5`},
		{"count rather than get", `[]`, `{"count": true, "get": true}`, `5`},
		{"count rather than get of none", `[["id", "=", 9]]`, `{"count": true, "get": true}`, `0`},
		{"offset and limit", `[]`, `{"select": ["id"], "offset": 1, "limit": 2}`, `[{"id": 2}, {"id": 3}]`},
		{"order before offset", `[]`, `{"select": ["id"], "order_by": ["-id"], "offset": 1, "limit": 2}`, `[{"id": 4}, {"id": 3}]`},
		{"offset beyond the end", `[]`, `{"offset": 9}`, `[]`},
		{"offset beyond any end", `[]`, `{"offset": 99999999999999999999}`, `[]`},
		{"limit 0 is none", `[]`, `{"select": ["id"], "limit": 0, "offset": 3}`, `[{"id": 4}, {"id": 5}]`},
		{"limit beyond the end", `[]`, `{"select": ["id"], "limit": 9, "offset": 4}`, `[{"id": 5}]`},
		{"none is a list", `[["id", "=", 9]]`, `{}`, `[]`},
		{"get", `[["age", "=", 30]]`, `{"get": true, "select": ["id"]}`, `{"id": 1}`},
		{"get of an order", `[["age", "=", 30]]`, `{"get": true, "select": ["id"], "order_by": ["-id"]}`, `{"id": 3}`},
		{"get with limit 1", `[]`, `{"get": true, "select": ["id"], "limit": 1}`, `{"id": 1}`},
		{"get stops at the first", `[["OR", [["id", "=", 1], ["age", "<", "a"]]]]`, `{"get": true, "select": ["id"]}`, `{"id": 1}`},
		{"not selected, not ordered", `[]`, `{"select": ["id"], "order_by": ["-name"], "limit": 2}`, `[{"id": 1}, {"id": 2}]`},
		{"filter by what is not selected", `[["name", "=", "bob"]]`, `{"select": ["id"]}`, `[{"id": 2}]`},
		{"order by a new name", `[]`, `{"select": [["id", "n"]], "order_by": ["-n"], "limit": 1}`, `[{"n": 5}]`},
		{"force_sql_filters", `[["id", "=", 2]]`, `{"select": ["id"], "force_sql_filters": true}`, `[{"id": 2}]`},
	}
	for _, tt := range tests {
		t.Run("2.8 "+tt.name, func(t *testing.T) {
			rows := parseRows(t, people)
			got, err := query(rows, tt.filters, tt.options)
			if err != nil {
				t.Fatal(err)
			}
			sameJSON(t, got, tt.want)
			sameJSON(t, rows, people)
		})
	}
}

// TestNoMatch holds the outcome of get without a match, whose text clients know (1.3).
func TestNoMatch(t *testing.T) {
	for _, options := range []string{`{"get": true}`, `{"get": true, "order_by": ["id"]}`, `{"get": true, "select": ["id"]}`} {
		_, err := query(parseRows(t, people), `[["id", "=", 9]]`, options)
		if !errors.Is(err, ErrNoMatch) {
			t.Errorf("%s: error %v, want %v", options, err, ErrNoMatch)
		}
		wantFailure(t, err, "MatchNotFound()")
	}
}

// TestRows turns entries into rows.
func TestRows(t *testing.T) {
	type entry struct {
		ID   uint64 `json:"id"`
		Name string `json:"name,omitempty"`
	}
	rows, err := Rows([]entry{{ID: 18446744073709551615, Name: "a"}, {ID: 2}})
	if err != nil {
		t.Fatal(err)
	}
	if got := matching(t, rows, `[["id", "=", 18446744073709551615]]`); len(got) != 1 {
		t.Errorf("matching %v, want the first", got)
	}
	sameJSON(t, rows, `[{"id": 18446744073709551615, "name": "a"}, {"id": 2}]`)
	if rows, err := Rows[entry](nil); err != nil || len(rows) != 0 {
		t.Errorf("rows of nothing: %v, %v", rows, err)
	}
	if _, err := Rows([]int{1}); err == nil {
		t.Error("a number is a row")
	}
	if _, err := Rows([]func(){nil}); err == nil {
		t.Error("a function is a row")
	}
}

// TestBadJSON refuses arguments that are no JSON at all, which the caller's decoder should have done.
func TestBadJSON(t *testing.T) {
	for _, text := range []string{`[`, `[] []`, `{"a" 1}`} {
		_, filters := Parse(json.RawMessage(text), nil)
		_, options := Parse(nil, json.RawMessage(text))
		for _, err := range []error{filters, options} {
			if _, ok := errors.AsType[FieldErrors](err); !ok {
				t.Errorf("%s: error %v, want a fault", text, err)
			}
		}
	}
}
