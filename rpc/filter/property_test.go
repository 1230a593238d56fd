package filter

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// drawRows draws rows whose fields a and b are numbers, s text, and n a number, null or missing.
func drawRows(t *rapid.T) []map[string]any {
	number := func(name string) any { return json.Number(fmt.Sprint(rapid.IntRange(0, 3).Draw(t, name))) }
	rows := make([]map[string]any, rapid.IntRange(0, 60).Draw(t, "rows"))
	for i := range rows {
		rows[i] = map[string]any{
			"id": json.Number(fmt.Sprint(i)), "a": number("a"), "b": number("b"),
			"s": rapid.StringMatching(`[aAbé]{0,3}`).Draw(t, "s"),
		}
		switch rapid.IntRange(0, 2).Draw(t, "n is") {
		case 0:
			rows[i]["n"] = nil
		case 1:
			rows[i]["n"] = number("n")
		}
	}
	return rows
}

// drawCondition draws a condition that cannot fail on such rows.
func drawCondition(t *rapid.T) any {
	number := func() int { return rapid.IntRange(0, 3).Draw(t, "value") }
	text := func() string { return rapid.StringMatching(`[aAbé]{0,2}`).Draw(t, "text") }
	switch rapid.IntRange(0, 3).Draw(t, "kind") {
	case 0:
		op := rapid.SampledFrom([]string{"=", "!=", "<", "<=", ">", ">="}).Draw(t, "op")
		return []any{rapid.SampledFrom([]string{"a", "b"}).Draw(t, "field"), op, number()}
	case 1:
		op := rapid.SampledFrom([]string{"in", "nin"}).Draw(t, "op")
		return []any{rapid.SampledFrom([]string{"a", "n"}).Draw(t, "field"), op, []any{number(), number()}}
	case 2:
		op := rapid.SampledFrom([]string{"=", "!="}).Draw(t, "op")
		return []any{"n", op, rapid.SampledFrom([]any{nil, 1}).Draw(t, "value")}
	}
	op := rapid.SampledFrom([]string{"=", "^", "!^", "$", "!$", "rin", "rnin", "<", "C=", "C^", "C!$", "Crin", "~"}).Draw(t, "op")
	return []any{"s", op, text()}
}

func drawConditions(t *rapid.T, least, most int) []any {
	return rapid.SliceOfN(rapid.Custom(drawCondition), least, most).Draw(t, "conditions")
}

// ask runs a query that cannot fail.
func ask(t *rapid.T, rows []map[string]any, filters []any, options map[string]any) any {
	f, err := json.Marshal(filters)
	if err != nil {
		t.Fatal(err)
	}
	o, err := json.Marshal(options)
	if err != nil {
		t.Fatal(err)
	}
	result, err := query(rows, string(f), string(o))
	if err != nil {
		t.Fatalf("%s %s: %v", f, o, err)
	}
	return result
}

func askRows(t *rapid.T, rows []map[string]any, filters []any, options map[string]any) []map[string]any {
	if filters == nil {
		filters = []any{}
	}
	if options == nil {
		options = map[string]any{}
	}
	return ask(t, rows, filters, options).([]map[string]any)
}

// TestCountIsLength counts what the same filters find.
func TestCountIsLength(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows, filters := drawRows(t), drawConditions(t, 0, 3)
		found := askRows(t, rows, filters, nil)
		if count := ask(t, rows, filters, map[string]any{"count": true}); count != len(found) {
			t.Fatalf("count %v, found %d", count, len(found))
		}
	})
}

// TestConditionsIntersect takes conditions one by one: all of them pick what each of them picks, in the same order.
func TestConditionsIntersect(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows, filters := drawRows(t), drawConditions(t, 0, 3)
		want := rows
		for _, f := range filters {
			want = askRows(t, want, []any{f}, nil)
		}
		if diff := cmp.Diff(want, askRows(t, rows, filters, nil), cmpEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
}

func cmpEmpty() cmp.Option {
	return cmp.FilterValues(func(a, b []map[string]any) bool { return len(a) == 0 && len(b) == 0 }, cmp.Ignore())
}

// TestNegations holds for every row: with a field that is neither null nor missing, an operator and its negation differ.
func TestNegations(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := drawRows(t)
		pair := rapid.SampledFrom([][2]string{{"=", "!="}, {"in", "nin"}, {"rin", "rnin"}, {"^", "!^"}, {"$", "!$"}, {"<", ">="}, {">", "<="}}).
			Draw(t, "operators")
		fold := rapid.SampledFrom([]string{"", "C"}).Draw(t, "fold")
		text := rapid.StringMatching(`[aAbé]{0,2}`).Draw(t, "text")
		yes := askRows(t, rows, []any{[]any{"s", fold + pair[0], text}}, nil)
		no := askRows(t, rows, []any{[]any{"s", fold + pair[1], text}}, nil)
		if len(yes)+len(no) != len(rows) {
			t.Fatalf("%d and %d of %d rows", len(yes), len(no), len(rows))
		}
	})
}

// TestDistribution evaluates (A and B …) or (C and D …) or … as it stands, and as its conjunctive normal form.
func TestDistribution(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := drawRows(t)
		groups := make([][]any, rapid.IntRange(1, 3).Draw(t, "groups"))
		var branches []any
		clauses := [][]any{nil}
		for i := range groups {
			groups[i] = drawConditions(t, 1, 3)
			if len(groups[i]) == 1 && rapid.Bool().Draw(t, "bare") {
				branches = append(branches, groups[i][0])
			} else {
				branches = append(branches, groups[i])
			}
			var longer [][]any
			for _, c := range clauses {
				for _, condition := range groups[i] {
					longer = append(longer, append(slices.Clone(c), condition))
				}
			}
			clauses = longer
		}
		var normal []any
		for _, c := range clauses {
			normal = append(normal, []any{"OR", c})
		}
		direct := askRows(t, rows, []any{[]any{"OR", branches}}, nil)
		if diff := cmp.Diff(askRows(t, rows, normal, nil), direct); diff != "" {
			t.Fatalf("direct (-normal form +direct):\n%s", diff)
		}
	})
}

// TestOrderIsStable orders by two keys: the result is sorted, has every row once, and keeps the order of equals.
func TestOrderIsStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := drawRows(t)
		nulls := rapid.SampledFrom([]string{"nulls_first:", "nulls_last:"}).Draw(t, "nulls")
		first, second := rapid.SampledFrom([]string{"", "-"}).Draw(t, "first"), rapid.SampledFrom([]string{"", "-"}).Draw(t, "second")
		got := askRows(t, rows, nil, map[string]any{"order_by": []string{nulls + first + "n", second + "a"}})
		want := slices.Clone(rows)
		slices.SortStableFunc(want, func(x, y map[string]any) int {
			if c := rank(x["n"], nulls, first) - rank(y["n"], nulls, first); c != 0 {
				return c
			}
			return rank(x["a"], nulls, second) - rank(y["a"], nulls, second)
		})
		if diff := cmp.Diff(want, got, cmpEmpty()); diff != "" {
			t.Fatalf("rows (-want +got):\n%s", diff)
		}
	})
}

// rank is where a small number or null stands.
func rank(v any, nulls, direction string) int {
	n, ok := v.(json.Number)
	switch i, _ := n.Int64(); {
	case !ok && nulls == "nulls_first:":
		return -100
	case !ok:
		return 100
	case direction == "-":
		return -int(i)
	default:
		return int(i)
	}
}

// TestPagesPartition puts the pages of a list together again.
func TestPagesPartition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows, filters := drawRows(t), drawConditions(t, 0, 1)
		options := map[string]any{"order_by": []string{"-a"}}
		whole := askRows(t, rows, filters, options)
		size := rapid.IntRange(1, 5).Draw(t, "size")
		var pages []map[string]any
		for offset := 0; offset <= len(whole); offset += size {
			options["offset"], options["limit"] = offset, size
			page := askRows(t, rows, filters, options)
			if len(page) > size {
				t.Fatalf("page of %d, limit %d", len(page), size)
			}
			pages = append(pages, page...)
		}
		if diff := cmp.Diff(whole, pages, cmpEmpty()); diff != "" {
			t.Fatalf("pages (-whole +pages):\n%s", diff)
		}
	})
}

// TestGetIsFirst gets the first of what a query without get gives.
func TestGetIsFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows, filters := drawRows(t), drawConditions(t, 0, 1)
		options := map[string]any{"select": []string{"id", "a"}}
		if rapid.Bool().Draw(t, "ordered") {
			options["order_by"] = []string{"-a"}
		}
		whole := askRows(t, rows, filters, options)
		if len(whole) == 0 {
			return
		}
		options["get"] = true
		if diff := cmp.Diff(whole[0], ask(t, rows, filters, options)); diff != "" {
			t.Fatal(diff)
		}
	})
}

// TestEscapedKeys finds and selects a value under any keys, with their dots escaped.
func TestEscapedKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOfN(rapid.StringMatching(`[a.*0é$]{1,4}`), 1, 3).Draw(t, "keys")
		// The suffix is taken off the whole path, whatever the last key is.
		if strings.HasSuffix(keys[len(keys)-1], dateSuffix) || keys[len(keys)-1] == "$date" {
			return
		}
		var row any = "found"
		var escaped []string
		for _, key := range slices.Backward(keys) {
			row = map[string]any{key: row}
			escaped = append(escaped, strings.ReplaceAll(key, ".", `\.`))
		}
		slices.Reverse(escaped)
		name := strings.Join(escaped, ".")
		rows := []map[string]any{row.(map[string]any)}
		got := askRows(t, rows, []any{[]any{name, "=", "found"}}, map[string]any{"select": []string{name}, "order_by": []string{name + "x"}})
		if diff := cmp.Diff(rows, got); diff != "" {
			t.Fatalf("path %s (-want +got):\n%s", name, diff)
		}
	})
}
