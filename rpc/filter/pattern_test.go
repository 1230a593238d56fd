package filter

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/zferry/zferry/pythonre"
)

// TestPatterns shows that patterns mean what they mean in Python: Python 3.13 has been asked for every answer.
func TestPatterns(t *testing.T) {
	tests := []struct {
		pattern string
		yes, no []string
	}{
		{`a`, []string{"a", "ab", "a\n"}, []string{"", "ba", "A"}},
		{`^a`, []string{"a", "ab"}, []string{"ba"}},
		{`a$`, []string{"a", "a\n"}, []string{"ab", "a\nb"}},
		{`a\Z`, []string{"a"}, []string{"a\n", "ab"}},
		{`.+\Z`, []string{"ab"}, []string{"a\n"}},
		{`(?m)a$`, []string{"a\nb"}, []string{"ab"}},
		{`(?s).+b\Z`, []string{"a\nb"}, []string{"a"}},
		{`(?i)AB`, []string{"ab", "AB"}, []string{"a"}},
		{`(?i:a)b`, []string{"ab", "Ab"}, []string{"aB"}},
		{`(?i)(?-i:a)B`, []string{"ab", "aB"}, []string{"Ab"}},
		{`(?u)\w`, []string{"é"}, []string{"-"}},
		{`(?u:\w)+`, []string{"é"}, []string{"-"}},
		{`(?P<x>a)(?P=x)`, []string{"aa"}, []string{"a", "ab"}},
		{`(?P<x>a)?(?(x)b|c)`, []string{"ab", "c"}, []string{"aa"}},
		{`(?x) a # c [ (` + "\n" + ` b`, []string{"ab"}, []string{"a b", "a"}},
		{`(?x)a b # end`, []string{"ab"}, []string{"a b"}},
		{`(?x)a\ b`, []string{"a b"}, []string{"ab"}},
		{`a(?#c)*b`, []string{"b", "aab"}, []string{"a"}},
		{`[]a]+\Z`, []string{"]a"}, []string{"]b"}},
		{`[^]a]`, []string{"b"}, []string{"]", "a"}},
		{`[[a]+\Z`, []string{"[a"}, []string{"b"}},
		{`[a-z-[b]\Z`, []string{"c", "-", "["}, []string{"B"}},
		{`[[:alpha:]]`, []string{"a]", ":]"}, []string{"a", "b]"}},
		{`[\]a]+\Z`, []string{"]a"}, []string{`\`}},
		{`a{,2}b`, []string{"b", "ab", "aab"}, []string{"aaab"}},
		{`a{,}b`, []string{"b", "aaab"}, []string{"a{,}b"}},
		{`a{2,}\Z`, []string{"aa", "aaa"}, []string{"a"}},
		{`a{x`, []string{"a{x"}, []string{"a"}},
		{`a{,b}`, []string{"a{,b}"}, []string{"ab"}},
		{`(?=ab)a`, []string{"ab"}, []string{"aa"}},
		{`auto-(?!x).+`, []string{"auto-2024"}, []string{"auto-x", "auto-"}},
		{`(?<=a)b`, nil, []string{"ab", "b"}},
		{`(?>a+)ab`, nil, []string{"aab"}},
		{`(a)(b)\2\1`, []string{"abba"}, []string{"abab"}},
		{`\d+\Z`, []string{"1٣"}, []string{"a"}},
		{`\x41\u0042\n`, []string{"AB\n"}, []string{"AB"}},
		{``, []string{"", "a"}, nil},
	}
	for _, tt := range tests {
		t.Run("2.7 "+tt.pattern, func(t *testing.T) {
			re, err := newPattern(tt.pattern, false)
			if err != nil {
				t.Fatal(err)
			}
			for want, texts := range map[bool][]string{true: tt.yes, false: tt.no} {
				for _, text := range texts {
					var r run
					if got, err := r.match(re, text); got != want || err != nil {
						t.Errorf("%q matches: %t, %v, want %t", text, got, err, want)
					}
				}
			}
		})
	}
}

// TestBadPatterns refuses what Python refuses, and flags that the engine alone knows or cannot have.
func TestBadPatterns(t *testing.T) {
	for _, pattern := range []string{
		"a)(b", "[a", "(a", `a\`, "(?P<x", "(?P=x", "(?P=x)", "*a", "{,2}", "a**", "x{2}{3}", "(?#unterminated", "(?(1)a|b)",
		"(?n)a", "(?d)a", "(?r)a", "(?a)a", "(?L)a", "(?in)a", "(?I)a",
	} {
		if _, err := newPattern(pattern, false); err == nil {
			t.Errorf("%q passes", pattern)
		}
	}
}

// TestSlowPatterns has patterns that would take longer than anybody waits. The limit is for all rows together.
func TestSlowPatterns(t *testing.T) {
	rows := make([]map[string]any, 100)
	for i := range rows {
		rows[i] = map[string]any{"x": strings.Repeat("a", 40) + "!"}
	}
	for _, pattern := range []string{`(a+)+$`, `(a|aa)+$`} {
		t.Run("2.7 "+pattern, func(t *testing.T) {
			start := time.Now()
			_, err := query(rows, fmt.Sprintf(`[["x", "~", %q]]`, pattern), "")
			if !errors.Is(err, errSlowPattern) {
				t.Errorf("error %v, want %v", err, errSlowPattern)
			}
			if took := time.Since(start); took > 5*pythonre.MatchTime {
				t.Errorf("stopped after %v", took)
			}
		})
	}
}

// TestMatchTimeAddsUp shows that the limit is for one run, not for one row.
func TestMatchTimeAddsUp(t *testing.T) {
	re, err := newPattern("a", false)
	if err != nil {
		t.Fatal(err)
	}
	spent := run{matching: pythonre.MatchTime}
	if _, err := spent.match(re, "a"); !errors.Is(err, errSlowPattern) {
		t.Errorf("error %v, want %v", err, errSlowPattern)
	}
	var fresh run
	if ok, err := fresh.match(re, "a"); !ok || err != nil {
		t.Errorf("matches: %t, %v", ok, err)
	}
}

// TestHugePatterns compiles patterns that are as long as a message allows, or stand for one that is far longer.
func TestHugePatterns(t *testing.T) {
	for _, pattern := range []string{
		strings.Repeat("a", 60000), strings.Repeat("ab", 30000) + "b", "a{100000000}", "(?:(?:(?:a{1000}){1000}){1000}){1000}",
		strings.Repeat("(", 20000) + strings.Repeat(")", 20000), strings.Repeat("a|", 30000), strings.Repeat("a?", 30000),
		"[" + strings.Repeat("a-zα-ω", 7000) + "]",
	} {
		start := time.Now()
		filters, err := json.Marshal([]any{[]any{"x", "~", pattern}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := query(one(t, `"aaaaaaaaaaaaaaaaaaaab"`), string(filters), ""); err != nil {
			t.Errorf("%.20s: %v", pattern, err)
		}
		if took := time.Since(start); took > 5*pythonre.MatchTime {
			t.Errorf("%.20s: took %v", pattern, took)
		}
	}
}
