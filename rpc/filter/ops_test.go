package filter

import (
	"fmt"
	"testing"
)

// TestOperators has a condition per line on a field x, and says whether it holds (2.7).
func TestOperators(t *testing.T) {
	tests := []struct {
		field, op, value string
		want             bool
	}{
		{`"a"`, "=", `"a"`, true},
		{`"a"`, "=", `"A"`, false},
		{`1`, "=", `1.0`, true},
		{`1`, "=", `"1"`, false},
		{`[1, {"a": 2}]`, "=", `[1, {"a": 2}]`, true},
		{`{"a": 1}`, "=", `{"a": 1, "b": 2}`, false},
		{`"a"`, "!=", `"a"`, false},
		{`"a"`, "!=", `1`, true},
		{`2`, ">", `1`, true},
		{`2`, ">", `2`, false},
		{`2`, ">=", `2`, true},
		{`1`, ">=", `2`, false},
		{`1`, "<", `2`, true},
		{`2`, "<", `2`, false},
		{`2`, "<=", `2`, true},
		{`3`, "<=", `2`, false},
		{`"b"`, ">", `"a"`, true},
		{`"é"`, ">", `"z"`, true}, // by code point
		{`[1, 2]`, "<", `[1, 3]`, true},
		{`[1]`, "<", `[1, 0]`, true},
		{`[1, "a"]`, ">", `[0, 1]`, true}, // the first difference decides
		{`"auto-2024"`, "~", `"auto"`, true},
		{`"my-auto"`, "~", `"auto"`, false}, // anchored at the start
		{`"my-auto"`, "~", `".*auto"`, true},
		{`"b"`, "~", `"a|b"`, true}, // the whole pattern is anchored
		{`"cb"`, "~", `"a|b"`, false},
		{`"a"`, "in", `["a", "b"]`, true},
		{`"c"`, "in", `["a", "b"]`, false},
		{`1`, "in", `[1.0]`, true},
		{`"lic"`, "in", `"alice"`, true}, // a text is in a text
		{`"a"`, "in", `{"a": 1}`, true},
		{`"b"`, "in", `{"a": 1}`, false},
		{`1`, "in", `{"a": 1}`, false},
		{`"a"`, "in", `{"$set": ["a"]}`, true},
		{`"$set"`, "in", `{"$set": ["a"]}`, false},
		{`"a"`, "nin", `["a", "b"]`, false},
		{`"c"`, "nin", `["a", "b"]`, true},
		{`["a", "b"]`, "rin", `"a"`, true},
		{`["a", "b"]`, "rin", `"c"`, false},
		{`"alice"`, "rin", `"lic"`, true},
		{`{"$set": ["a"]}`, "rin", `"a"`, true},
		{`["a", "b"]`, "rnin", `"a"`, false},
		{`["a", "b"]`, "rnin", `"c"`, true},
		{`"alice"`, "^", `"al"`, true},
		{`"alice"`, "^", `"ce"`, false},
		{`"alice"`, "!^", `"al"`, false},
		{`"alice"`, "!^", `"ce"`, true},
		{`"alice"`, "$", `"ce"`, true},
		{`"alice"`, "$", `"al"`, false},
		{`"alice"`, "!$", `"ce"`, false},
		{`"alice"`, "!$", `"al"`, true},

		{`"Foo"`, "C=", `"fOO"`, true},
		{`"Foo"`, "C!=", `"fOO"`, false},
		{`"B"`, "C>", `"a"`, true},
		{`"B"`, "C>=", `"b"`, true},
		{`"a"`, "C<", `"B"`, true},
		{`"B"`, "C<=", `"b"`, true},
		{`"Foo"`, "C~", `"FO+"`, true},
		{`"bar"`, "C~", `"FO+"`, false},
		{`"Foo"`, "Cin", `["FOO", "x"]`, true},
		{`"Foo"`, "Cnin", `["FOO", "x"]`, false},
		{`["Foo"]`, "Crin", `"fOO"`, true},
		{`["Foo"]`, "Crnin", `"fOO"`, false},
		{`"Foo"`, "C^", `"FO"`, true},
		{`"Foo"`, "C!^", `"FO"`, false},
		{`"Foo"`, "C$", `"OO"`, true},
		{`"Foo"`, "C!$", `"OO"`, false},
		{`"Straße"`, "C=", `"STRASSE"`, true},
		{`"ς"`, "C=", `"Σ"`, true},
		{`["A", "b"]`, "C=", `["a", "B"]`, true},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("2.7 %s %s %s", tt.field, tt.op, tt.value), func(t *testing.T) {
			got := matching(t, one(t, tt.field), fmt.Sprintf(`[["x", %q, %s]]`, tt.op, tt.value))
			if (len(got) == 1) != tt.want {
				t.Errorf("holds: %t, want %t", len(got) == 1, tt.want)
			}
		})
	}
}

// TestNullAndMissing holds the rules for a field that is null, and for one that is not there (2.7).
func TestNullAndMissing(t *testing.T) {
	tests := []struct {
		op, value string
		null      bool // whether null matches
	}{
		{"=", `null`, true},
		{"=", `"a"`, false},
		{"!=", `null`, false},
		{"!=", `"a"`, true},
		{"~", `"^$"`, true}, // an empty text
		{"~", `"a"`, false},
		{"in", `[null]`, true},
		{"in", `["a"]`, false},
		{"nin", `["a"]`, false},
		{"rin", `"a"`, false},
		{"rnin", `"a"`, false},
		{"^", `"a"`, false},
		{"!^", `"a"`, false},
		{"$", `"a"`, false},
		{"!$", `"a"`, false},
		{"C=", `"a"`, false},
		{"C=", `null`, true},
		{"C!=", `"a"`, true},
		{"C~", `"^$"`, true},
		{"Cin", `["a"]`, false},
		{"Cnin", `["a"]`, false},
		{"Crin", `"a"`, false},
		{"Crnin", `"a"`, false},
		{"C^", `"a"`, false},
		{"C!^", `"a"`, false},
		{"C$", `"a"`, false},
		{"C!$", `"a"`, false},
	}
	for _, tt := range tests {
		filter := fmt.Sprintf(`[["x", %q, %s]]`, tt.op, tt.value)
		t.Run("2.7 null "+filter, func(t *testing.T) {
			if got := matching(t, one(t, "null"), filter); (len(got) == 1) != tt.null {
				t.Errorf("null matches: %t, want %t", len(got) == 1, tt.null)
			}
		})
		t.Run("2.7 missing "+filter, func(t *testing.T) {
			if got := matching(t, parseRows(t, `[{"id": 1}]`), filter); len(got) != 0 {
				t.Error("a missing key matches")
			}
		})
	}
	for _, op := range []string{"<", "<=", ">", ">=", "C<", "C>="} {
		t.Run("2.7 missing "+op, func(t *testing.T) {
			if got := matching(t, parseRows(t, `[{"id": 1}]`), fmt.Sprintf(`[["x", %q, "a"]]`, op)); len(got) != 0 {
				t.Error("a missing key matches")
			}
		})
	}
}

// TestIncompatible has conditions that can only fail, with the text of the failure (2.7: comparing incompatible types).
func TestIncompatible(t *testing.T) {
	tests := []struct{ field, op, value, want string }{
		{`"a"`, "<", `1`, "'<' not supported between instances of 'str' and 'int'"},
		{`1.5`, ">=", `"a"`, "'>=' not supported between instances of 'float' and 'str'"},
		{`null`, ">", `1`, "'>' not supported between instances of 'NoneType' and 'int'"},
		{`null`, "<=", `null`, "'<=' not supported between instances of 'NoneType' and 'NoneType'"},
		{`true`, "<", `"a"`, "'<' not supported between instances of 'bool' and 'str'"},
		{`{"a": 1}`, "<", `{"a": 1}`, "'<' not supported between instances of 'dict' and 'dict'"},
		{`[1, 2]`, "<", `[1, "a"]`, "'<' not supported between instances of 'int' and 'str'"},
		{`{"$date": 1000}`, "<", `1000`, "'<' not supported between instances of 'datetime.datetime' and 'int'"},
		{`{"$time": "10:00:00"}`, "<", `{"$time": "11:00:00"}`, "'<' not supported between instances of 'dict' and 'dict'"},
		{`1`, "~", `"a"`, "expected string or bytes-like object, got 'int'"},
		{`["a"]`, "~", `"a"`, "expected string or bytes-like object, got 'list'"},
		{`1`, "in", `"1"`, "'in <string>' requires string as left operand, not int"},
		{`null`, "in", `"a"`, "'in <string>' requires string as left operand, not NoneType"},
		{`"a"`, "in", `1`, "argument of type 'int' is not iterable"},
		{`"a"`, "nin", `null`, "argument of type 'NoneType' is not iterable"},
		{`["a"]`, "in", `{"a": 1}`, "unhashable type: 'list'"},
		{`1`, "rin", `"a"`, "argument of type 'int' is not iterable"},
		{`"a"`, "rnin", `1`, "'in <string>' requires string as left operand, not int"},
		{`1`, "^", `"a"`, "must be str, not int"},
		{`"a"`, "!$", `null`, "must be str, not NoneType"},
		{`1`, "C=", `"a"`, "filter_list: cannot casefold value of type int"},
		{`true`, "C^", `"a"`, "filter_list: cannot casefold value of type bool"},
		{`{"a": 1}`, "C=", `"a"`, "filter_list: cannot casefold value of type dict"},
		{`["a", 1]`, "Crin", `"a"`, "'int' object has no attribute 'casefold'"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("2.7 %s %s %s", tt.field, tt.op, tt.value), func(t *testing.T) {
			_, err := query(one(t, tt.field), fmt.Sprintf(`[["x", %q, %s]]`, tt.op, tt.value), "")
			wantFailure(t, err, tt.want)
		})
	}
}
