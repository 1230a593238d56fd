package ssh_test

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zferry/zferry/ssh"
)

func TestQuote(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"plain", []string{"zfs", "send", "-w", "tank/a@auto-2026_01.02:03"}, "zfs send -w tank/a@auto-2026_01.02:03"},
		{"empty", []string{"a", ""}, "a ''"},
		{"none", nil, ""},
		{"spaces", []string{"a b"}, "'a b'"},
		{"assignment", []string{"a=b"}, "'a=b'"},
		{"keyword", []string{"while", "Done"}, "'while' Done"},
		{"quote", []string{"it's"}, `'it'\''s'`},
		{"only a quote", []string{"'"}, `\'`},
		{"history of csh", []string{"a!b"}, `'a'\!'b'`},
		{"backslash for fish", []string{`a\nb`}, `'a'\\'nb'`},
		{"injection", []string{"$(id)", "`id`", ";id", "~", "*"}, "'$(id)' '`id`' ';id' '~' '*'"},
		{"not ASCII", []string{"größe"}, "'größe'"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := ssh.Quote(tt.args...); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestQuoteRefusesNUL(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a NUL was quoted")
		}
	}()
	ssh.Quote("a", "b\x00c")
}

// FuzzQuote lets a shell split what Quote makes of three words, also through the second shell that a login shell starts.
func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "a", "a b", "'", `\`, "!", "\n", "$HOME", "`id`", "-n", "*", "~", "=a", "#", "\xff", "if", "a\\", "''", "\t\r"} {
		f.Add(s, "x"+s, s+s)
	}
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if strings.ContainsRune(a+b+c, 0) {
			return // no argument of a process holds one
		}
		want := []string{a, b, c}
		print := `for w; do printf '%s\0' "$w"; done`
		direct := ssh.Quote("sh", "-c", print, "sh", a, b, c)
		for _, line := range []string{direct, ssh.Quote("sh", "-c", direct)} {
			out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", line).Output()
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			var got []string
			for w := range bytes.SplitSeq(bytes.TrimSuffix(out, []byte{0}), []byte{0}) {
				got = append(got, string(w))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: words (-want +got):\n%s", line, diff)
			}
		}
	})
}
