package pythonre

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// The clock of regexp2 ends by itself a second after the last match.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/dlclark/regexp2.runClock"))
}

// TestCompile matches names as name_regex does (truenas-api.md 3.6): "(regex)$" from the start. What patterns mean beyond that
// is held in rpc/filter, against answers of Python.
func TestCompile(t *testing.T) {
	tests := []struct {
		pattern string
		yes, no []string
	}{
		{`auto-\d+`, []string{"auto-1", "auto-12"}, []string{"xauto-1", "auto-1x", "auto-"}},
		{`(?!manual).*`, []string{"auto"}, []string{"manual-1"}},
		{`a|b`, []string{"a", "b"}, []string{"ab", ""}},
		{`(?P<x>a)(?P=x)`, []string{"aa"}, []string{"a", "aaa"}},
	}
	for _, tt := range tests {
		re, err := Compile("("+tt.pattern+")$", false)
		if err != nil {
			t.Errorf("%s: %v", tt.pattern, err)
			continue
		}
		for want, names := range map[bool][]string{true: tt.yes, false: tt.no} {
			for _, name := range names {
				if got, err := re.MatchString(name); got != want || err != nil {
					t.Errorf("%s on %q: %v, %v, want %v", tt.pattern, name, got, err, want)
				}
			}
		}
	}
	for _, wrong := range []string{"(", "a)(b", "[", `(?P<x`, "*"} {
		if _, err := Compile(wrong, false); err == nil {
			t.Errorf("%s is taken", wrong)
		}
	}
}
