package filter

import (
	"strconv"
	"strings"
)

// path leads to a field. It is split once, when the query is parsed.
type path []step

// step is a key of an object, a place in a list, or every element of a list.
type step struct {
	key   string
	index int // -1 if the key is not a number
	every bool
}

// in gives the element of a list that the step means, null beyond its end.
func (s step) in(list []any) any {
	if s.index < len(list) {
		return list[s.index]
	}
	return nil
}

// parsePath splits at dots; a backslash before a dot makes it part of the key.
func parsePath(text string) path {
	var p path
	pieces := strings.Split(text, ".")
	for i := 0; i < len(pieces); i++ {
		key := pieces[i]
		for strings.HasSuffix(key, `\`) && i+1 < len(pieces) {
			i++
			key = key[:len(key)-1] + "." + pieces[i]
		}
		p = append(p, step{key: key, index: indexOf(key), every: key == "*"})
	}
	return p
}

func indexOf(key string) int {
	for _, r := range key {
		if r < '0' || r > '9' {
			return -1
		}
	}
	i, err := strconv.Atoi(key)
	if err != nil {
		return -1
	}
	return i
}

// value follows the path for ordering. What is not there is null.
func (p path) value(v any) any {
	for _, s := range p {
		switch at := v.(type) {
		case map[string]any:
			v = at[s.key]
		case []any:
			if s.index < 0 {
				return nil
			}
			v = s.in(at)
		default:
			return nil
		}
	}
	return v
}
