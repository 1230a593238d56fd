package pythonre

import (
	"fmt"
	"strings"
)

// translate rewrites a regular expression of Python for an engine that knows .NET's: \Z is \z there, (?P<name>…) is
// (?<name>…), {,3} is {0,3}, and [ within a class begins another. What only .NET knows mostly passes.
func translate(pattern string) (string, error) {
	t := translator{rest: pattern}
	for t.rest != "" {
		var err error
		switch {
		case t.take(`\Z`):
			t.out.WriteString(`\z`)
		case t.rest[0] == '\\':
			t.copy(2)
		case t.rest[0] == '[':
			t.class()
		case t.take("(?P<"):
			t.out.WriteString("(?<")
		case t.take("(?P="):
			err = t.reference()
		case strings.HasPrefix(t.rest, "(?#"):
			t.comment()
		case t.take("(?"):
			err = t.flags()
		case strings.HasPrefix(t.rest, "{,"):
			t.upTo()
		default:
			t.copy(1)
		}
		if err != nil {
			return "", err
		}
	}
	return t.out.String(), nil
}

type translator struct {
	rest string
	out  strings.Builder
}

func (t *translator) take(prefix string) bool {
	rest, ok := strings.CutPrefix(t.rest, prefix)
	t.rest = rest
	return ok
}

// copy takes over n bytes, or what is left. All that is looked for is ASCII, so cutting between bytes does no harm.
func (t *translator) copy(n int) {
	n = min(n, len(t.rest))
	t.out.WriteString(t.rest[:n])
	t.rest = t.rest[n:]
}

// class takes over [...]. A bracket that closes stands for itself in the first place.
func (t *translator) class() {
	t.copy(1)
	if strings.HasPrefix(t.rest, "^") {
		t.copy(1)
	}
	if t.take("]") {
		t.out.WriteString(`\]`)
	}
	for t.rest != "" && t.rest[0] != ']' {
		switch {
		case t.rest[0] == '\\':
			t.copy(2)
		case t.take("["):
			t.out.WriteString(`\[`)
		default:
			t.copy(1)
		}
	}
	t.copy(1)
}

func (t *translator) reference() error {
	name, rest, ok := strings.Cut(t.rest, ")")
	if !ok {
		return fmt.Errorf("missing ), unterminated name in (?P=%s", name)
	}
	t.out.WriteString(`\k<` + name + `>`)
	t.rest = rest
	return nil
}

// comment drops (?#...). Without an end it stays, to be refused.
func (t *translator) comment() {
	_, rest, ok := strings.Cut(t.rest, ")")
	if !ok {
		t.copy(len(t.rest))
		return
	}
	t.rest = rest
}

// flags takes over what follows (?. Of the flags in (?i) or (?i:...) it passes those that mean the same in both languages:
// u is how Python works anyway, and a and L would change what \w is.
func (t *translator) flags() error {
	end := strings.IndexFunc(t.rest, func(r rune) bool {
		return r != '-' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
	if end <= 0 || t.rest[end] != ':' && t.rest[end] != ')' {
		t.out.WriteString("(?")
		return nil
	}
	flags := strings.ReplaceAll(t.rest[:end], "u", "")
	if unknown := strings.Trim(flags, "imsx-"); unknown != "" {
		return fmt.Errorf("unsupported flag in (?%s", t.rest[:end])
	}
	closing := t.rest[end]
	t.rest = t.rest[end+1:]
	switch {
	case flags == "" && closing == ')':
		t.out.WriteString("(?:)")
	default:
		t.out.WriteString("(?" + flags + string(closing))
	}
	return nil
}

// upTo takes over {, and writes {0, if it begins a quantifier.
func (t *translator) upTo() {
	digits := strings.TrimLeft(t.rest[2:], "0123456789")
	if strings.HasPrefix(digits, "}") {
		t.out.WriteString("{0,")
		t.rest = t.rest[2:]
		return
	}
	t.copy(1)
}
