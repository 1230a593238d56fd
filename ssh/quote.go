package ssh

import (
	"slices"
	"strings"
)

// Quote returns one line of shell that stands for args: a POSIX shell splits it into exactly these words. It is also read
// that way by csh and fish, unless an argument holds a newline (csh). An argument must not hold a NUL, as no argument of a
// process can; Quote panics on it, so what comes from outside is checked before.
func Quote(args ...string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = quote(a)
	}
	return strings.Join(quoted, " ")
}

// reserved words mean something to a shell where a command is expected.
var reserved = []string{
	"case", "coproc", "do", "done", "elif", "else", "end", "esac", "fi", "for", "foreach", "function", "if", "in", "repeat",
	"select", "switch", "then", "time", "until", "while",
}

func quote(s string) string {
	if strings.ContainsRune(s, 0) {
		panic("ssh: argument holds a NUL")
	}
	if s != "" && strings.IndexFunc(s, special) < 0 && !slices.Contains(reserved, s) {
		return s
	}
	var b strings.Builder
	open := false
	for i := range len(s) {
		c := s[i]
		// These three stand outside the quotes: ' ends them, csh looks for ! in them, fish for \.
		if c == '\'' || c == '!' || c == '\\' {
			if open {
				b.WriteByte('\'')
				open = false
			}
			b.WriteByte('\\')
			b.WriteByte(c)
			continue
		}
		if !open {
			b.WriteByte('\'')
			open = true
		}
		b.WriteByte(c)
	}
	if open {
		b.WriteByte('\'')
	}
	if b.Len() == 0 {
		return "''"
	}
	return b.String()
}

// special tells whether r has a meaning to some shell somewhere in a word. What no shell could mind is not quoted, for the
// sake of the people who read the commands.
func special(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return false
	}
	return !strings.ContainsRune("_-./:@+,", r)
}
