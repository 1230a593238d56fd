package filter

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const nested = `[
	{"id": 1, "a": {"b": "x", "n": null}, "l": [{"v": 1}, {"v": 2}], "m": [["p"], ["q", "r"]], "a.b": "dot", "*": 5},
	{"id": 2, "a": {"b": "y"}, "l": [{"v": 3}, "text", 4, null], "m": []},
	{"id": 3, "a": "x", "l": []},
	{"id": 4, "a": null, "l": {"0": "zero", "*": "star"}},
	{"id": 5}
]`

// TestPaths follows field paths (2.7).
func TestPaths(t *testing.T) {
	tests := []struct {
		name, filters string
		want          []string
	}{
		{"flat", `[["id", "=", 1]]`, []string{"1"}},
		{"nested", `[["a.b", "=", "y"]]`, []string{"2"}},
		{"below a text is the text", `[["a.b", "=", "x"]]`, []string{"1", "3"}},
		{"below null is null", `[["a.n", "=", null]]`, []string{"1", "4"}},
		{"missing below an object", `[["a.c", "!=", 1]]`, []string{"3", "4"}},
		{"missing at the top", `[["zz.b", "!=", 1]]`, []string{}},
		{"literal dot", `[["a\\.b", "=", "dot"]]`, []string{"1"}},
		{"literal dot, nowhere", `[["a\\.c", "!=", "dot"]]`, []string{}},
		{"index", `[["l.0.v", "=", 1]]`, []string{"1"}},
		{"index of an object is a key", `[["l.0", "=", "zero"]]`, []string{"4"}},
		{"index beyond the end is null", `[["l.1", "=", null]]`, []string{"3"}},
		{"index and on beyond the end", `[["l.9.v", "=", null]]`, []string{"1", "2", "3"}},
		{"name in a list", `[["l.v", "!=", 99]]`, []string{}},
		{"negative index", `[["l.-1", "!=", 99]]`, []string{}},
		{"huge index", `[["m.99999999999999999999", "!=", 99]]`, []string{}},
		{"any element", `[["l.*.v", "=", 2]]`, []string{"1"}},
		{"any element, some without the key", `[["l.*.v", "=", 3]]`, []string{"2"}},
		{"any element itself", `[["l.*", "=", 4]]`, []string{"2"}},
		{"any of any", `[["m.*.*", "=", "r"]]`, []string{"1"}},
		{"index after any", `[["m.*.1", "=", "r"]]`, []string{"1"}},
		{"any of an object is a key", `[["l.*", "=", "star"]]`, []string{"4"}},
		{"any at the top is a key", `[["*", "=", 5]]`, []string{"1"}},
		{"any of nothing", `[["l.*.v", "!=", 99], ["id", "=", 3]]`, []string{}},
		{"empty path", `[["", "=", 1]]`, []string{}},
	}
	rows := parseRows(t, nested)
	for _, tt := range tests {
		t.Run("2.7 "+tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, matching(t, rows, tt.filters)); diff != "" {
				t.Errorf("ids (-want +got):\n%s", diff)
			}
		})
	}
}

// TestParsePath splits paths at dots that have no backslash before them.
func TestParsePath(t *testing.T) {
	tests := []struct {
		text string
		want []string
	}{
		{"a", []string{"a"}},
		{"a.b.c", []string{"a", "b", "c"}},
		{`a\.b.c`, []string{"a.b", "c"}},
		{`a\.b\.c`, []string{"a.b.c"}},
		{`a.b\`, []string{"a", `b\`}},
		{`a\b`, []string{`a\b`}},
		{"", []string{""}},
		{"a..b", []string{"a", "", "b"}},
	}
	for _, tt := range tests {
		var got []string
		for _, s := range parsePath(tt.text) {
			got = append(got, s.key)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.text, diff)
		}
	}
}

// TestGroups puts conditions together (2.7).
func TestGroups(t *testing.T) {
	rows := parseRows(t, `[{"id": 1, "a": 1, "b": 1}, {"id": 2, "a": 1, "b": 2}, {"id": 3, "a": 2, "b": 1}, {"id": 4, "a": 2, "b": 2}]`)
	tests := []struct {
		name, filters string
		want          []string
	}{
		{"none", `[]`, []string{"1", "2", "3", "4"}},
		{"not given", ``, []string{"1", "2", "3", "4"}},
		{"all hold", `[["a", "=", 1], ["b", "=", 2]]`, []string{"2"}},
		{"or", `[["OR", [["a", "=", 1], ["b", "=", 1]]]]`, []string{"1", "2", "3"}},
		{"or of one", `[["OR", [["a", "=", 1]]]]`, []string{"1", "2"}},
		{"or of nothing", `[["OR", []]]`, []string{}},
		{"or of groups", `[["OR", [[["a", "=", 1], ["b", "=", 1]], [["a", "=", 2], ["b", "=", 2]]]]]`, []string{"1", "4"}},
		{"or of both forms", `[["OR", [[["a", "=", 1], ["b", "=", 1]], ["b", "=", 2]]]]`, []string{"1", "2", "4"}},
		{"or in or", `[["OR", [["OR", [["id", "=", 1], ["id", "=", 2]]], ["id", "=", 4]]]]`, []string{"1", "2", "4"}},
		{"or in group", `[["OR", [[["a", "=", 1], ["OR", [["b", "=", 2], ["b", "=", 3]]]]]]]`, []string{"2"}},
		{"or and more", `[["OR", [["a", "=", 1], ["b", "=", 1]]], ["id", ">", 1]]`, []string{"2", "3"}},
		{"a field called OR", `[["OR", "=", 1]]`, []string{}},
	}
	for _, tt := range tests {
		t.Run("2.7 "+tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, matching(t, rows, tt.filters)); diff != "" {
				t.Errorf("ids (-want +got):\n%s", diff)
			}
		})
	}
}

// TestGroupsStopEarly shows that what cannot change the answer is not looked at, and so cannot fail.
func TestGroupsStopEarly(t *testing.T) {
	rows := one(t, `"a"`)
	if got := matching(t, rows, `[["id", "=", 2], ["x", "<", 1]]`); len(got) != 0 {
		t.Errorf("matching %v, want none", got)
	}
	if got := matching(t, rows, `[["OR", [["id", "=", 1], ["x", "<", 1]]]]`); len(got) != 1 {
		t.Errorf("matching %v, want one", got)
	}
}

// or nests a condition in n OR nodes.
func or(n int, filter string) string {
	return strings.Repeat(`["OR", [`, n) + filter + strings.Repeat(`]]`, n)
}

// TestDepth holds the limit: each OR and each group is a level, and three are allowed (2.7).
func TestDepth(t *testing.T) {
	const leaf = `["id", "=", 1]`
	tests := []struct {
		name, filter string
		tooDeep      bool
	}{
		{"three OR", or(3, leaf), false},
		{"four OR", or(4, leaf), true},
		{"OR, group, OR", or(1, `[`+or(1, leaf)+`]`), false},
		{"OR, OR, group", or(2, `[`+leaf+`]`), false},
		{"OR, OR, OR, group", or(3, `[`+leaf+`]`), true},
		{"OR, group, OR, group", or(1, `[`+or(1, `[`+leaf+`]`)+`]`), true},
		{"hundred OR", or(100, leaf), true},
	}
	for _, tt := range tests {
		t.Run("2.7 "+tt.name, func(t *testing.T) {
			_, err := query(one(t, "1"), `[`+tt.filter+`]`, "")
			if tt.tooDeep {
				wantFailure(t, err, "query-filters max recursion depth exceeded")
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestShape refuses what is not a list of filters, with the texts of 2.7.
func TestShape(t *testing.T) {
	tests := []struct{ name, filters, attribute, message string }{
		{"unknown operator", `[["a", "==", 1]]`, "filters", "Value error, filter_list: unknown operator '=='"},
		{"unknown operator with C", `[["a", "Clike", 1]]`, "filters", "Value error, filter_list: unknown operator 'like'"},
		{"no operator", `[["a", "", 1]]`, "filters", "Value error, filter_list: unknown operator ''"},
		{"unknown operator in OR", or(1, `["a", "x", 1]`), "filters", "Value error, filter_list: unknown operator 'x'"},
		{"two without OR", `[["a", "="]]`, "filters", `Value error, filter_list: len-2 filter must start with "OR"`},
		{"group at the top", `[[["a", "=", 1], ["b", "=", 1]]]`, "filters", `Value error, filter_list: len-2 filter must start with "OR"`},
		{"length 1", `[["a"]]`, "filters", "Value error, filter_list: invalid filter length 1"},
		{"length 4", `[["a", "=", 1, 2]]`, "filters", "Value error, filter_list: invalid filter length 4"},
		{"length 0", `[[]]`, "filters", "Value error, filter_list: invalid filter length 0"},
		{"empty branch", `[["OR", [[]]]]`, "filters", "Value error, filter_list: invalid filter length 0"},
		{"outer list missing", `["id", "=", 1]`, "filters", `Value error, filter_list: len-2 filter must start with "OR"`},
		{"outer list missing, long name", `["name", "=", 1]`, "filters", "Value error, filter_list: invalid filter length 4"},
		{"number for a filter", `[["a", "=", 1], 5]`, "filters.1", "Input should be a valid list"},
		{"field is no text", `[[5, "=", 1]]`, "filters.0.0", "Input should be a valid string"},
		{"operator is no text", `[["a", null, 1]]`, "filters.0.1", "Input should be a valid string"},
		{"branches are no list", `[["OR", 5]]`, "filters.0.1", "Input should be a valid list"},
		{"branch is no list", `[["OR", [["a", "=", 1], {}]]]`, "filters.0.1.1", "Input should be a valid list"},
		{"field in a group is no text", `[["OR", [[["a", "=", 1], [1, "=", 1]]]]]`, "filters.0.1.0.1.0", "Input should be a valid string"},
		{"object", `{}`, "filters", "Input should be a valid list"},
		{"null", `null`, "filters", "Input should be a valid list"},
		{"fold a number", `[["a", "C=", 1]]`, "filters", "Value error, filter_list: cannot casefold value of type int"},
		{"fold a date", `[["a", "C=", {"$date": 1}]]`, "filters", "Value error, filter_list: cannot casefold value of type datetime.datetime"},
	}
	for _, tt := range tests {
		t.Run("2.7 "+tt.name, func(t *testing.T) {
			filters := tt.filters
			if strings.HasPrefix(filters, `["OR"`) {
				filters = `[` + filters + `]`
			}
			_, err := Parse(json.RawMessage(filters), nil)
			wantFault(t, err, tt.attribute, tt.message)
		})
	}
}

// TestFaultsTogether shows that both arguments are checked, and before what only a run would find.
func TestFaultsTogether(t *testing.T) {
	_, err := Parse(json.RawMessage(`[["a.$date", "=", 5], ["a", "x", 1]]`), json.RawMessage(`{"limit": "a", "more": 1}`))
	want := "filters: Value error, filter_list: unknown operator 'x'\n" +
		"options.limit: Input should be a valid integer\n" +
		"options.more: Extra inputs are not permitted"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// TestLaterFailures has filters of a good shape that fail when they are used.
func TestLaterFailures(t *testing.T) {
	tests := []struct{ filters, want string }{
		{`[["a", "Cin", ["a", 1]]]`, "'int' object has no attribute 'casefold'"},
		{`[["a", "~", 1]]`, "first argument must be string or compiled pattern"},
		{`[["a", "~", "[a"]]`, "error parsing regexp: unterminated [] set in `[a`"},
		{`[["a", "~", "a)(b"]]`, "error parsing regexp: unexpected ) in `a)(b`"},
		{`[["a", "~", "["], ["a.$date", "=", 1]]`, "error parsing regexp: unterminated [] set in `[`"}, // the first
	}
	for _, tt := range tests {
		_, err := Parse(json.RawMessage(tt.filters), nil)
		wantFailure(t, err, tt.want)
	}
}
