package filter

import (
	"fmt"
	"strings"

	"github.com/dlclark/regexp2"
)

// test tells whether the value of a field passes.
type test func(r *run, v any) (bool, error)

// valueError is an error that is a fault of the arguments if it shows while they are read.
type valueError string

func (e valueError) Error() string { return string(e) }

func known(op string) bool {
	switch op {
	case "=", "!=", ">", ">=", "<", "<=", "~", "in", "nin", "rin", "rnin", "^", "!^", "$", "!$":
		return true
	}
	return false
}

// newTest makes the test of a known operator.
func newTest(op string, ignoreCase bool, want any) (test, error) {
	if op == "~" {
		re, err := newPattern(want, ignoreCase)
		if err != nil {
			return nil, err
		}
		return matches(re), nil
	}
	if !ignoreCase {
		return plainTest(op, want), nil
	}
	want, err := fold(want)
	if err != nil {
		return nil, err
	}
	t := plainTest(op, want)
	return func(r *run, v any) (bool, error) {
		v, err := fold(v)
		if err != nil {
			return false, err
		}
		return t(r, v)
	}, nil
}

func plainTest(op string, want any) test {
	switch op {
	case "=":
		return func(_ *run, v any) (bool, error) { return equal(v, want), nil }
	case "!=":
		return func(_ *run, v any) (bool, error) { return !equal(v, want), nil }
	case "in":
		return in(want)
	case "nin":
		return unlessNull(not(in(want)))
	case "rin":
		return unlessNull(holds(want))
	case "rnin":
		return unlessNull(not(holds(want)))
	case "^":
		return unlessNull(affix(strings.HasPrefix, want))
	case "!^":
		return unlessNull(not(affix(strings.HasPrefix, want)))
	case "$":
		return unlessNull(affix(strings.HasSuffix, want))
	case "!$":
		return unlessNull(not(affix(strings.HasSuffix, want)))
	}
	return ordered(op, want)
}

func not(t test) test {
	return func(r *run, v any) (bool, error) {
		ok, err := t(r, v)
		return !ok && err == nil, err
	}
}

// unlessNull says no to null, also for the negated operators.
func unlessNull(t test) test {
	return func(r *run, v any) (bool, error) {
		if v == nil {
			return false, nil
		}
		return t(r, v)
	}
}

func ordered(op string, want any) test {
	return func(_ *run, v any) (bool, error) {
		c, err := order(v, want, op)
		if err != nil {
			return false, err
		}
		switch op {
		case ">":
			return c > 0, nil
		case ">=":
			return c >= 0, nil
		case "<":
			return c < 0, nil
		}
		return c <= 0, nil
	}
}

func in(want any) test {
	return func(_ *run, v any) (bool, error) { return contains(want, v) }
}

func holds(want any) test {
	return func(_ *run, v any) (bool, error) { return contains(v, want) }
}

// contains tells whether an element is in a list, a text in a text, or a key in an object.
func contains(container, v any) (bool, error) {
	v = lift(v)
	switch c := lift(container).(type) {
	case []any:
		for _, element := range c {
			if equal(element, v) {
				return true, nil
			}
		}
		return false, nil
	case string:
		part, ok := v.(string)
		if !ok {
			return false, fmt.Errorf("'in <string>' requires string as left operand, not %s", typeName(v))
		}
		return strings.Contains(c, part), nil
	case map[string]any:
		if set, ok := c["$set"].([]any); ok && len(c) == 1 {
			return contains(set, v)
		}
		switch key := v.(type) {
		case string:
			_, ok := c[key]
			return ok, nil
		case []any, map[string]any:
			return false, fmt.Errorf("unhashable type: '%s'", typeName(v))
		}
		return false, nil
	}
	return false, fmt.Errorf("argument of type '%s' is not iterable", typeName(container))
}

func affix(has func(text, part string) bool, want any) test {
	return func(_ *run, v any) (bool, error) {
		for _, operand := range []any{v, want} {
			if _, ok := operand.(string); !ok {
				return false, fmt.Errorf("must be str, not %s", typeName(operand))
			}
		}
		return has(v.(string), want.(string)), nil
	}
}

// matches takes null for an empty text.
func matches(re *regexp2.Regexp) test {
	return func(r *run, v any) (bool, error) {
		if v == nil {
			v = ""
		}
		text, ok := v.(string)
		if !ok {
			return false, fmt.Errorf("expected string or bytes-like object, got '%s'", typeName(v))
		}
		return r.match(re, text)
	}
}
