package filter

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// fold takes the differences of case out of a text or a list of texts; null stays.
func fold(v any) (any, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		return foldText(v), nil
	case []any:
		list := make([]any, len(v))
		for i, element := range v {
			text, ok := element.(string)
			if !ok {
				return nil, fmt.Errorf("'%s' object has no attribute 'casefold'", typeName(element))
			}
			list[i] = foldText(text)
		}
		return list, nil
	}
	return nil, valueError("filter_list: cannot casefold value of type " + typeName(v))
}

// foldText folds as Python's casefold does, but for a hundred rare characters that fold into several (Greek with iota
// subscript, combining marks).
func foldText(text string) string {
	if isASCII(text) {
		return strings.ToLower(text)
	}
	var b strings.Builder
	for _, r := range text {
		switch r {
		case 'ß', 'ẞ':
			b.WriteString("ss")
		case 'İ':
			b.WriteString("i\u0307")
		case 'ﬀ':
			b.WriteString("ff")
		case 'ﬁ':
			b.WriteString("fi")
		case 'ﬂ':
			b.WriteString("fl")
		case 'ﬃ':
			b.WriteString("ffi")
		case 'ﬄ':
			b.WriteString("ffl")
		case 'ﬅ', 'ﬆ':
			b.WriteString("st")
		case 'ı': // its capital is that of i
			b.WriteRune(r)
		default:
			// By way of the capital: ς and σ, ſ and s are the same.
			b.WriteRune(unicode.ToLower(unicode.ToUpper(r)))
		}
	}
	return b.String()
}

func isASCII(text string) bool {
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
