package filter

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// date is {"$date": milliseconds}, a point in time.
type date struct{ ms number }

// lift turns the top of a JSON value into what can be compared: numbers and dates become number and date, and all else
// stays.
func lift(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, ok := parseNumber(string(v)); ok {
			return n
		}
	case map[string]any:
		if len(v) != 1 {
			return v
		}
		if ms, ok := lift(v["$date"]).(number); ok {
			return date{ms}
		}
	}
	return v
}

// liftAll does so all the way down, in a copy. It is for values that are compared with many others: a number can be long.
func liftAll(v any) any {
	switch v := lift(v).(type) {
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = liftAll(v[i])
		}
		return list
	case map[string]any:
		object := make(map[string]any, len(v))
		for key := range v {
			object[key] = liftAll(v[key])
		}
		return object
	default:
		return v
	}
}

// asNumber gives the number that a value is. In Python, and so in every client's filters, true is 1 and false is 0.
func asNumber(v any) (number, bool) {
	switch v := v.(type) {
	case number:
		return v, true
	case bool:
		if v {
			return number{small: 1}, true
		}
		return number{}, true
	}
	return number{}, false
}

// equal compares two values of any kind. What is of different kinds is different.
func equal(a, b any) bool {
	a, b = lift(a), lift(b)
	switch x := a.(type) {
	case nil:
		return b == nil
	case string:
		y, ok := b.(string)
		return ok && x == y
	case date:
		y, ok := b.(date)
		return ok && x.ms.compare(y.ms) == 0
	case []any:
		y, ok := b.([]any)
		return ok && slices.EqualFunc(x, y, equal)
	case map[string]any:
		y, ok := b.(map[string]any)
		return ok && maps.EqualFunc(x, y, equal)
	}
	x, isNumber := asNumber(a)
	y, ok := asNumber(b)
	return isNumber && ok && x.compare(y) == 0
}

// order compares two values of one kind; op is for the text of the error.
func order(a, b any, op string) (int, error) {
	a, b = lift(a), lift(b)
	switch x := a.(type) {
	case string:
		if y, ok := b.(string); ok {
			return strings.Compare(x, y), nil // UTF-8 sorts by code point
		}
	case date:
		if y, ok := b.(date); ok {
			return x.ms.compare(y.ms), nil
		}
	case []any:
		if y, ok := b.([]any); ok {
			return orderLists(x, y, op)
		}
	default:
		x1, isNumber := asNumber(a)
		if y, ok := asNumber(b); ok && isNumber {
			return x1.compare(y), nil
		}
	}
	return 0, fmt.Errorf("'%s' not supported between instances of '%s' and '%s'", op, typeName(a), typeName(b))
}

// orderLists lets the first difference decide, else the length.
func orderLists(a, b []any, op string) (int, error) {
	for i := range min(len(a), len(b)) {
		if !equal(a[i], b[i]) {
			return order(a[i], b[i], op)
		}
	}
	return len(a) - len(b), nil
}

// typeName is the Python name of a value's type, as it stands in errors.
func typeName(v any) string {
	switch v := lift(v).(type) {
	case nil:
		return "NoneType"
	case bool:
		return "bool"
	case number:
		if v.isFloat {
			return "float"
		}
		return "int"
	case string:
		return "str"
	case []any:
		return "list"
	case map[string]any:
		return "dict"
	case date:
		return "datetime.datetime"
	}
	return fmt.Sprintf("%T", v)
}

// display is a value as Python's str shows it, for texts of errors.
func display(v any) string {
	if text, ok := v.(string); ok {
		return text
	}
	return literal(v)
}

// literal is a value as Python's repr shows it. Keys are in alphabetical order.
func literal(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		if v {
			return "True"
		}
		return "False"
	case string:
		quoted := strconv.Quote(v)
		if strings.Contains(v, "'") && !strings.Contains(v, `"`) {
			return quoted
		}
		inner := strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
		return "'" + strings.ReplaceAll(inner, "'", `\'`) + "'"
	case []any:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = literal(v[i])
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case map[string]any:
		parts := make([]string, 0, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, literal(key)+": "+literal(v[key]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return fmt.Sprint(v)
}
