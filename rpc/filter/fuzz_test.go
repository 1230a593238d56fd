package filter

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zferry/zferry/pythonre"
)

// FuzzQuery gives arguments of any kind: they end in a result or an error, in bounded time, and leave the rows alone.
func FuzzQuery(f *testing.F) {
	for _, seed := range [][2]string{
		{`[["id", "=", 1]]`, `{"select": ["id", ["a.b", "c"]], "order_by": ["nulls_first:-age"], "offset": 1, "limit": 2}`},
		{`[["OR", [[["name", "C^", "A"], ["tags.*", "in", ["x"]]], ["home.town", "~", "(?i)a|(?P<x>b)"]]]]`, `{"count": true}`},
		{`[["home.zip", "rnin", "1"], ["at.$date", ">=", "2023-12-18T16:15:35.5+01:00"]]`, `{"get": true, "extra": {"a": []}}`},
		{`[["age", ">", 1e400], ["name", "!$", null]]`, `{"order_by": ["home"]}`},
		{`[["name", "~", "(a+)+$"]]`, `{"force_sql_filters": true}`},
		{`["id", "=", 1]`, `[]`},
	} {
		f.Add(seed[0], seed[1])
	}
	rows := parseRows(f, people)
	rows = append(rows, parseRows(f, nested)...)
	rows = append(rows, map[string]any{"id": json.Number("6"), "name": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"})
	before, err := json.Marshal(rows)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, filters, options string) {
		start := time.Now()
		q, err := Parse(json.RawMessage(filters), json.RawMessage(options))
		if faults, ok := errors.AsType[FieldErrors](err); ok && len(faults) == 0 {
			t.Error("faults without one")
		}
		if err == nil {
			check(t, q, rows)
		}
		if took := time.Since(start); took > 5*pythonre.MatchTime {
			t.Errorf("took %v", took)
		}
		after, err := json.Marshal(rows)
		if err != nil {
			t.Fatal(err)
		}
		if string(before) != string(after) {
			t.Error("rows have changed")
		}
	})
}

// check runs a query twice and compares.
func check(t *testing.T, q *Query, rows []map[string]any) {
	result, err := q.Run(rows)
	again, errAgain := q.Run(rows)
	if errors.Is(err, errSlowPattern) || errors.Is(errAgain, errSlowPattern) {
		return
	}
	if (err == nil) != (errAgain == nil) {
		t.Fatalf("error %v, then %v", err, errAgain)
	}
	if err != nil {
		if _, ok := errors.AsType[FieldErrors](err); ok || err.Error() == "" {
			t.Errorf("error %q", err)
		}
		return
	}
	if diff := cmp.Diff(result, again); diff != "" {
		t.Errorf("results differ (-first +second):\n%s", diff)
	}
	o := q.Options()
	switch result := result.(type) {
	case int:
		if !o.Count || result > len(rows) {
			t.Errorf("count %d", result)
		}
	case []map[string]any:
		if o.Count || o.Get || o.Limit > 0 && len(result) > o.Limit {
			t.Errorf("%d rows", len(result))
		}
	case map[string]any:
		if !o.Get {
			t.Error("one row")
		}
	default:
		t.Errorf("result %T", result)
	}
	if _, err := json.Marshal(result); err != nil {
		t.Error(err)
	}
}

// FuzzPattern translates and matches any pattern.
func FuzzPattern(f *testing.F) {
	for _, pattern := range []string{`(?P<x>a)(?P=x)[]\][a-z-[b]{,2}\Z`, `(?ix) a # c`, `(?#c)(?(1)a|b)`, `(?-i:a)(?u)`, `\p{L}\k<a>(?<-a>b)`} {
		f.Add(pattern, "ab")
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		start := time.Now()
		re, err := newPattern(pattern, len(text)%2 == 0)
		if took := time.Since(start); took > pythonre.MatchTime {
			t.Errorf("compiled in %v", took)
		}
		if err != nil {
			return
		}
		var r run
		if _, err := r.match(re, text); err != nil && !errors.Is(err, errSlowPattern) {
			t.Error(err)
		}
		if r.matching > 3*pythonre.MatchTime {
			t.Errorf("matched in %v", r.matching)
		}
	})
}

// FuzzTime reads any time: what is read is written and read again as the same.
func FuzzTime(f *testing.F) {
	for _, text := range []string{"2023-12-18T16:15:35.5+01:30", "2020W537", "20231218 1615Z"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		at, ok := parseTime(text)
		if !ok || at.Year() < 1 || at.Year() > 9999 {
			return
		}
		again, ok := parseTime(at.Format("2006-01-02T15:04:05.000000Z07:00"))
		if !ok || !again.Equal(at) {
			t.Errorf("%q is %v, then %v, %t", text, at, again, ok)
		}
	})
}
