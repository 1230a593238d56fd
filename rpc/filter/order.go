package filter

import (
	"cmp"
	"slices"
	"strings"
)

// ordering is one key to order by.
type ordering struct {
	path       path
	descending bool
	nulls      int // where null and missing go whatever the direction: -1 first, 1 last, 0 is for no place of their own
}

// parseOrdering reads nulls_first: or nulls_last:, then -, then a path. It is false if there is no path.
func parseOrdering(text string) (ordering, bool) {
	var o ordering
	if rest, ok := strings.CutPrefix(text, "nulls_first:"); ok {
		o.nulls, text = -1, rest
	} else if rest, ok := strings.CutPrefix(text, "nulls_last:"); ok {
		o.nulls, text = 1, rest
	}
	text, o.descending = strings.CutPrefix(text, "-")
	o.path = parsePath(text)
	return o, text != ""
}

// keyed is a row with what it is ordered by.
type keyed struct {
	row map[string]any
	key any
}

// sortRows orders rows by the first key, then the next; what is equal in all of them keeps its order. A key with values of
// different kinds is an error, null without a place of its own among them, and also where a key before it decides: that is
// why there is one pass for each.
func sortRows(rows []map[string]any, by []ordering) error {
	list := make([]keyed, len(rows))
	for i, row := range rows {
		list[i].row = row
	}
	for _, o := range slices.Backward(by) {
		for i := range list {
			list[i].key = lift(o.path.value(list[i].row))
		}
		var failed error
		slices.SortStableFunc(list, func(a, b keyed) int {
			if failed != nil {
				return 0
			}
			c, err := o.compare(a.key, b.key)
			failed = err
			return c
		})
		if failed != nil {
			return failed
		}
	}
	for i := range list {
		rows[i] = list[i].row
	}
	return nil
}

func (o ordering) compare(a, b any) (int, error) {
	if a == nil && b == nil {
		return 0, nil
	}
	if o.nulls != 0 && (a == nil || b == nil) {
		if a == nil {
			return o.nulls, nil
		}
		return -o.nulls, nil
	}
	c, err := order(a, b, "<")
	if err != nil && equal(a, b) { // objects have no order, but may be the same
		return 0, nil
	}
	if o.descending {
		c = -c
	}
	return cmp.Compare(c, 0), err
}
