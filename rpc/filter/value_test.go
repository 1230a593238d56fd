package filter

import (
	"encoding/json"
	"fmt"
	"math/big"
	"testing"
	"unicode"

	"pgregory.net/rapid"
)

// TestNumbers compares numbers that a float64 would round.
func TestNumbers(t *testing.T) {
	tests := []struct {
		a, b string
		want int
	}{
		{"1", "1.0", 0},
		{"1", "1.5", -1},
		{"-0", "0", 0},
		{"0.1", "1e-1", 0},
		{"9007199254740993", "9007199254740992", 1},
		{"9007199254740993", "9007199254740992.0", 1},
		{"9007199254740992", "9007199254740992.0", 0},
		{"18446744073709551615", "18446744073709551614", 1}, // GUIDs
		{"18446744073709551616", "18446744073709551616.0", 0},
		{"18446744073709551617", "18446744073709551616.0", 1},
		{"-18446744073709551616", "9223372036854775807", -1},
		{"123456789012345678901234567890", "1e400", -1}, // infinite, as in Python
		{"-123456789012345678901234567890", "-1e400", 1},
		{"1", "1e400", -1},
		{"1e400", "1e500", 0},
		{"true", "1", 0}, // Python: True == 1
		{"false", "0.0", 0},
		{"true", "false", 1},
		{"true", "2", -1},
	}
	for _, tt := range tests {
		t.Run(tt.a+" and "+tt.b, func(t *testing.T) {
			for op, want := range map[string]bool{
				"=": tt.want == 0, "!=": tt.want != 0, "<": tt.want < 0, "<=": tt.want <= 0, ">": tt.want > 0, ">=": tt.want >= 0,
			} {
				got := matching(t, one(t, tt.a), fmt.Sprintf(`[["x", %q, %s]]`, op, tt.b))
				if (len(got) == 1) != want {
					t.Errorf("%s %s %s: %t, want %t", tt.a, op, tt.b, len(got) == 1, want)
				}
			}
		})
	}
}

// TestNumbersExact compares any two numbers as fractions.
func TestNumbersExact(t *testing.T) {
	text := rapid.OneOf(
		rapid.Custom(func(t *rapid.T) string { return fmt.Sprint(rapid.Int64().Draw(t, "int")) }),
		rapid.Custom(func(t *rapid.T) string { return fmt.Sprint(rapid.Uint64().Draw(t, "uint")) + "0" }),
		rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("%.1f", float64(rapid.Int64().Draw(t, "whole"))) }),
		rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("%e", rapid.Float64Range(-1e30, 1e30).Draw(t, "float")) }),
	)
	rapid.Check(t, func(t *rapid.T) {
		a, b := text.Draw(t, "a"), text.Draw(t, "b")
		x, _ := parseNumber(a)
		y, _ := parseNumber(b)
		if got, want := x.compare(y), exact(x).Cmp(exact(y)); got != want {
			t.Fatalf("%s and %s: %d, want %d", a, b, got, want)
		}
	})
}

func exact(n number) *big.Rat {
	if n.isFloat {
		return new(big.Rat).SetFloat64(n.float)
	}
	return new(big.Rat).SetInt(n.integer())
}

// TestExtended holds the rules for extended JSON (1.6): dates compare with dates, other objects are the same or not.
func TestExtended(t *testing.T) {
	tests := []struct {
		field, op, value string
		want             bool
	}{
		{`{"$date": 1000}`, "=", `{"$date": 1000}`, true},
		{`{"$date": 1000}`, "=", `{"$date": 1000.0}`, true},
		{`{"$date": 1000}`, "!=", `{"$date": 2000}`, true},
		{`{"$date": 1000}`, "<", `{"$date": 2000}`, true},
		{`{"$date": 9000}`, "<", `{"$date": 10000}`, true}, // as numbers
		{`{"$date": 1000}`, ">=", `{"$date": 1000}`, true},
		{`{"$date": 1000}`, "in", `[{"$date": 1000}]`, true},
		{`{"$date": 1000}`, "=", `1000`, false},
		{`{"$date": 1000}`, "=", `{"$date": "1000"}`, false},
		{`{"$time": "10:00:00"}`, "=", `{"$time": "10:00:00"}`, true},
		{`{"$time": "10:00:00"}`, "!=", `{"$time": "11:00:00"}`, true},
		{`{"$type": "date", "$value": "2024-01-01"}`, "=", `{"$value": "2024-01-01", "$type": "date"}`, true},
		{`{"$ipv4_interface": "10.0.0.1/8"}`, "!=", `{"$ipv4_interface": "10.0.0.1/16"}`, true},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("1.6 %s %s %s", tt.field, tt.op, tt.value), func(t *testing.T) {
			got := matching(t, one(t, tt.field), fmt.Sprintf(`[["x", %q, %s]]`, tt.op, tt.value))
			if (len(got) == 1) != tt.want {
				t.Errorf("holds: %t, want %t", len(got) == 1, tt.want)
			}
		})
	}
}

// TestFold checks that folding ends what it is for: capitals and small letters, and a second time changes nothing.
func TestFold(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		folded := foldText(string(r))
		if again := foldText(folded); again != folded {
			t.Errorf("%U: %q folds on to %q", r, folded, again)
		}
		for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
			if foldText(string(other)) != folded && r < unicode.MaxLatin1 {
				t.Errorf("%U and %U differ: %q, %q", r, other, folded, foldText(string(other)))
			}
		}
	}
}

// TestLiteral shows values as Python does.
func TestLiteral(t *testing.T) {
	tests := []struct{ value, want string }{
		{`null`, "None"},
		{`true`, "True"},
		{`false`, "False"},
		{`12`, "12"},
		{`"a"`, "'a'"},
		{`"it's"`, `"it's"`},
		{`"it's \"so\""`, `'it\'s "so"'`},
		{`"a\nb\\"`, `'a\nb\\'`},
		{`["a", [1], {"b": null, "a": 1.5}]`, "['a', [1], {'a': 1.5, 'b': None}]"},
	}
	for _, tt := range tests {
		var v any
		if err := decode([]byte(tt.value), &v); err != nil {
			t.Fatal(err)
		}
		if got := literal(v); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.value, got, tt.want)
		}
	}
}

// TestForeignValues shows that rows of another making do no harm: what is not of JSON equals nothing.
func TestForeignValues(t *testing.T) {
	rows := []map[string]any{{"id": "1", "x": struct{}{}}, {"id": "2", "x": json.Number("nonsense")}}
	if got := matching(t, rows, `[["x", "!=", 1]]`); len(got) != 2 {
		t.Errorf("matching %v, want both", got)
	}
	_, err := query(rows, `[["x", "<", 1]]`, "")
	wantFailure(t, err, "'<' not supported between instances of 'struct {}' and 'int'")
}
