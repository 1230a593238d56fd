package filter

import (
	"encoding/json"
	"errors"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	optionsAttribute = "options"
	maxLimit         = 10000
	maxText          = 1024 // characters of a text in the options
)

// What the model says of a value of the wrong type.
const (
	wantObject   = "Input should be a valid dictionary"
	wantOptions  = "Input should be a valid dictionary or instance of QueryOptions"
	wantList     = "Input should be a valid list"
	wantText     = "Input should be a valid string"
	wantBool     = "Input should be a valid boolean"
	wantInt      = "Input should be a valid integer"
	wantPositive = "Input should be greater than or equal to 0"
	wantShorter  = "String should have at most 1024 characters"
)

// Options is query-options. Those that are not listed here are refused.
type Options struct {
	Extra           json.RawMessage // an object, per method
	Select          []Selection     // empty is all fields
	OrderBy         []string        // as sent, with prefixes
	Count           bool
	Get             bool
	Offset          int
	Limit           int  // 0 is no limit
	ForceSQLFilters bool // has no meaning for rows
}

// Selection is a field to select, by its path. If As is set, the result has it under that name, else at the same path.
type Selection struct {
	Path, As string
}

// optionParser reads query-options and collects what is wrong with them.
type optionParser struct {
	given  map[string]json.RawMessage
	faults FieldErrors
}

func (p *optionParser) fault(name, message string) {
	p.faults = append(p.faults, FieldError{optionsAttribute + "." + name, message})
}

func (q *Query) parseOptions(text json.RawMessage) FieldErrors {
	q.options.Extra = json.RawMessage("{}")
	if len(text) == 0 {
		return nil
	}
	var p optionParser
	var v any
	if err := decode(text, &v); err != nil {
		return fault(optionsAttribute, "Invalid JSON: "+err.Error())
	}
	if _, ok := v.(map[string]any); !ok {
		return fault(optionsAttribute, wantOptions)
	}
	if err := decode(text, &p.given); err != nil {
		return fault(optionsAttribute, "Invalid JSON: "+err.Error())
	}
	q.options = Options{
		Extra:           p.object("extra"),
		OrderBy:         p.texts("order_by"),
		Select:          p.selections("select"),
		Count:           p.flag("count"),
		Get:             p.flag("get"),
		Offset:          p.number("offset"),
		Limit:           p.number("limit"),
		ForceSQLFilters: p.flag("force_sql_filters"),
	}
	for _, name := range slices.Sorted(maps.Keys(p.given)) {
		p.fault(name, "Extra inputs are not permitted")
	}
	if len(p.faults) > 0 {
		return p.faults
	}
	return q.compileOptions()
}

// compileOptions checks what the options say together. As in the original the first fault is the only one.
func (q *Query) compileOptions() FieldErrors {
	o := &q.options
	switch {
	case o.Limit > maxLimit:
		return valueFault(optionsAttribute+".limit", "limit must not exceed %d", maxLimit)
	case o.Get && o.Limit > 1:
		return valueFault(optionsAttribute+".get", "get=True is incompatible with limit > 1")
	case o.Get && o.Offset != 0:
		return valueFault(optionsAttribute+".get", "get=True is incompatible with offset")
	}
	for _, s := range o.Select {
		q.fields = append(q.fields, field{path: parsePath(s.Path), name: s.As})
	}
	for i, text := range o.OrderBy {
		key, ok := parseOrdering(text)
		if !ok {
			return valueFault(index(optionsAttribute+".order_by", i), "filter_list: order_by field name is empty")
		}
		q.order = append(q.order, key)
	}
	return nil
}

// take gives an option that was sent, and strikes it off the list.
func (p *optionParser) take(name string) (v any, raw json.RawMessage, ok bool) {
	raw, ok = p.given[name]
	delete(p.given, name)
	if ok {
		_ = decode(raw, &v) // it was decoded before, as a part of the whole
	}
	return v, raw, ok
}

func (p *optionParser) object(name string) json.RawMessage {
	v, raw, ok := p.take(name)
	if !ok {
		return json.RawMessage("{}")
	}
	if _, ok := v.(map[string]any); !ok {
		p.fault(name, wantObject)
	}
	return raw
}

func (p *optionParser) flag(name string) bool {
	v, _, ok := p.take(name)
	if !ok {
		return false
	}
	b, ok := v.(bool)
	if !ok {
		p.fault(name, wantBool)
	}
	return b
}

// number reads an integer from 0. One that does not fit an int is as good as the largest.
func (p *optionParser) number(name string) int {
	v, _, ok := p.take(name)
	if !ok {
		return 0
	}
	n, ok := v.(json.Number)
	if !ok || strings.ContainsAny(string(n), ".eE") {
		p.fault(name, wantInt)
		return 0
	}
	if strings.HasPrefix(string(n), "-") && n != "-0" {
		p.fault(name, wantPositive)
		return 0
	}
	i, err := strconv.Atoi(string(n))
	if errors.Is(err, strconv.ErrRange) {
		return math.MaxInt
	}
	return i
}

func (p *optionParser) list(name string) []any {
	v, _, ok := p.take(name)
	if !ok {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		p.fault(name, wantList)
	}
	return list
}

func (p *optionParser) texts(name string) []string {
	var texts []string
	for i, v := range p.list(name) {
		text, ok := v.(string)
		switch {
		case !ok:
			p.fault(index(name, i), wantText)
		case utf8.RuneCountInString(text) > maxText:
			p.fault(index(name, i), wantShorter)
		}
		texts = append(texts, text)
	}
	return texts
}

func (p *optionParser) selections(name string) []Selection {
	var all []Selection
	for i, v := range p.list(name) {
		s, message := selection(v)
		if message != "" {
			p.fault(index(name, i), message)
		}
		all = append(all, s)
	}
	return all
}

// selection reads a path, or a list of a path and a new name.
func selection(v any) (s Selection, message string) {
	switch v := v.(type) {
	case string:
		if utf8.RuneCountInString(v) > maxText {
			return s, wantShorter
		}
		return Selection{Path: v}, ""
	case []any:
		if len(v) != 2 {
			return s, "Value error, " + literal(v) + ": select as list may only contain two parameters"
		}
		var ok bool
		if s.Path, ok = v[0].(string); !ok {
			return s, "Value error, " + literal(v) + ": first item must be a string"
		}
		if s.As, ok = v[1].(string); !ok {
			return s, "Value error, " + literal(v) + ": second item must be a string"
		}
		return s, ""
	}
	return s, wantText + " or " + wantList
}
