package filter

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

const (
	filtersAttribute = "filters"
	dateSuffix       = ".$date"
	maxDepth         = 3 // of OR nodes and AND groups within each other
)

var errTooDeep = errors.New("query-filters max recursion depth exceeded")

// node is a part of the filters.
type node interface {
	match(r *run, row map[string]any) (bool, error)
}

// allOf matches what every part matches.
type allOf []node

func (n allOf) match(r *run, row map[string]any) (bool, error) {
	for _, part := range n {
		if ok, err := part.match(r, row); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

// anyOf matches what one part matches; of nothing it matches nothing.
type anyOf []node

func (n anyOf) match(r *run, row map[string]any) (bool, error) {
	for _, part := range n {
		if ok, err := part.match(r, row); err != nil || ok {
			return ok, err
		}
	}
	return false, nil
}

// condition is one [field, operator, value].
type condition struct {
	path path
	test test
}

func (c condition) match(r *run, row map[string]any) (bool, error) {
	return c.matchFrom(r, row, 0)
}

// matchFrom follows the path from its step i on. What the path cannot name does not match, but a list has null beyond its
// end, and a path that goes on below null, a text, a number or a date means that value itself.
func (c condition) matchFrom(r *run, v any, i int) (bool, error) {
	for ; i < len(c.path); i++ {
		switch at := v.(type) {
		case map[string]any:
			if _, ok := lift(at).(date); ok {
				return c.test(r, v)
			}
			next, ok := at[c.path[i].key]
			if !ok {
				return false, nil
			}
			v = next
		case []any:
			if c.path[i].every {
				for _, element := range at {
					if ok, err := c.matchFrom(r, element, i+1); err != nil || ok {
						return ok, err
					}
				}
				return false, nil
			}
			if c.path[i].index < 0 {
				return false, nil
			}
			v = c.path[i].in(at)
		default:
			return c.test(r, v)
		}
	}
	return c.test(r, v)
}

// parser reads query-filters.
type parser struct {
	later error // the first fault that the original finds only when it runs the query
}

func (p *parser) delay(err error) {
	if p.later == nil {
		p.later = err
	}
}

func fault(attribute, message string) FieldErrors {
	return FieldErrors{{Attribute: attribute, Message: message}}
}

func valueFault(attribute, format string, args ...any) FieldErrors {
	return fault(attribute, "Value error, "+fmt.Sprintf(format, args...))
}

func (p *parser) filters(text json.RawMessage) (allOf, FieldErrors) {
	if len(text) == 0 {
		return nil, nil
	}
	var v any
	if err := decode(text, &v); err != nil {
		return nil, fault(filtersAttribute, "Invalid JSON: "+err.Error())
	}
	list, ok := v.([]any)
	if !ok {
		return nil, fault(filtersAttribute, wantList)
	}
	return p.all(list, filtersAttribute, 0)
}

func (p *parser) all(list []any, at string, depth int) (allOf, FieldErrors) {
	if depth > maxDepth {
		p.delay(errTooDeep)
	}
	nodes := make(allOf, 0, len(list))
	for i, v := range list {
		n, faults := p.filter(v, index(at, i), depth)
		if faults != nil {
			return nil, faults
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

func (p *parser) filter(v any, at string, depth int) (node, FieldErrors) {
	parts, ok := sequence(v)
	switch {
	case !ok:
		return nil, fault(at, wantList)
	case len(parts) == 3:
		return p.condition(parts, at)
	case len(parts) != 2:
		return nil, valueFault(filtersAttribute, "filter_list: invalid filter length %d", len(parts))
	case parts[0] != "OR":
		return nil, valueFault(filtersAttribute, `filter_list: len-2 filter must start with "OR"`)
	}
	return p.or(parts[1], index(at, 1), depth+1)
}

func (p *parser) or(v any, at string, depth int) (node, FieldErrors) {
	if depth > maxDepth {
		p.delay(errTooDeep)
	}
	branches, ok := v.([]any)
	if !ok {
		return nil, fault(at, wantList)
	}
	nodes := make(anyOf, 0, len(branches))
	for i, branch := range branches {
		n, faults := p.branch(branch, index(at, i), depth)
		if faults != nil {
			return nil, faults
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// branch reads one condition, or a list of them that must all hold.
func (p *parser) branch(v any, at string, depth int) (node, FieldErrors) {
	if list, ok := v.([]any); ok && len(list) > 0 {
		if _, group := list[0].([]any); group {
			return p.all(list, at, depth+1)
		}
	}
	return p.filter(v, at, depth)
}

func (p *parser) condition(parts []any, at string) (node, FieldErrors) {
	name, ok := parts[0].(string)
	if !ok {
		return nil, fault(index(at, 0), wantText)
	}
	op, ok := parts[1].(string)
	if !ok {
		return nil, fault(index(at, 1), wantText)
	}
	plain, ignoreCase := strings.CutPrefix(op, "C")
	if !known(plain) {
		return nil, valueFault(filtersAttribute, "filter_list: unknown operator '%s'", plain)
	}
	value := parts[2]
	if field, ok := strings.CutSuffix(name, dateSuffix); ok {
		date, err := dateOperand(op, value)
		if err != nil {
			p.delay(err)
			return allOf{}, nil
		}
		name, value = field, date
	}
	t, err := newTest(plain, ignoreCase, liftAll(value))
	if err != nil {
		if text, ok := errors.AsType[valueError](err); ok {
			return nil, valueFault(filtersAttribute, "%s", text)
		}
		p.delay(err)
		return allOf{}, nil
	}
	return condition{path: parsePath(name), test: t}, nil
}

// sequence gives the parts of a filter. To the original a text is a sequence of characters; it gets there when the outer
// list is missing, and then says what is wrong with the length.
func sequence(v any) ([]any, bool) {
	switch v := v.(type) {
	case []any:
		return v, true
	case string:
		var parts []any
		for _, r := range v {
			parts = append(parts, string(r))
		}
		return parts, true
	}
	return nil, false
}

func index(at string, i int) string { return at + "." + strconv.Itoa(i) }
