package rpc

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// maxString is how many characters a string may have, if nothing else was said.
const maxString = 1024

// rules are what the tags of a field say about its value.
type rules struct {
	enum             []string
	min, max         *int64
	minLen, maxLen   int // 0 is none
	eachMin, eachMax int
	long, unique     bool
}

// elements are the rules for the elements of a list or map.
func (r *rules) elements() *rules {
	return &rules{enum: r.enum, min: r.min, max: r.max, long: r.long, minLen: r.eachMin, maxLen: r.eachMax}
}

// maxText is the most characters of a string, 0 for no limit.
func (r *rules) maxText() int {
	if r.maxLen == 0 && !r.long {
		return maxString
	}
	return r.maxLen
}

// length says what is wrong with a length, or nothing. found says how the text goes on when the length is told too.
func (r *rules) length(what, unit, found string, n, most int) string {
	want := ""
	switch {
	case n < r.minLen:
		want = fmt.Sprintf("%s should have at least %d %s", what, r.minLen, plural(unit, r.minLen))
	case most > 0 && n > most:
		want = fmt.Sprintf("%s should have at most %d %s", what, most, plural(unit, most))
	default:
		return ""
	}
	if found != "" {
		want += fmt.Sprintf("%s, not %d", found, n)
	}
	return want
}

func plural(unit string, n int) string {
	if n == 1 {
		return unit
	}
	return unit + "s"
}

// choose says what is wrong with a choice, or nothing.
func (r *rules) choose(text string, valid bool) string {
	var b strings.Builder
	for i, choice := range r.enum {
		if valid && text == choice {
			return ""
		}
		switch {
		case i == 0:
		case i == len(r.enum)-1:
			b.WriteString(" or ")
		default:
			b.WriteString(", ")
		}
		b.WriteString("'" + choice + "'")
	}
	return "Input should be " + b.String()
}

// field is one argument, or one key of an object.
type field struct {
	name      string
	doc       string
	index     []int
	required  bool
	private   bool
	byDefault json.RawMessage // nil is none
	rules     rules
}

// fieldsOf lists the fields of a struct in order, those of embedded structs in their place.
func fieldsOf(t reflect.Type) ([]field, error) {
	var list []field
	for i := range t.NumField() {
		sf := t.Field(i)
		name, options, _ := strings.Cut(sf.Tag.Get("json"), ",")
		switch {
		case sf.Anonymous && name == "" && sf.Type.Kind() == reflect.Struct:
			inner, err := fieldsOf(sf.Type)
			if err != nil {
				return nil, err
			}
			for _, f := range inner {
				f.index = append([]int{i}, f.index...)
				list = append(list, f)
			}
			continue
		case !sf.IsExported() || name == "-":
			continue
		case name == "":
			return nil, fmt.Errorf("field %s has no name in a json tag", sf.Name)
		}
		f, err := fieldOf(sf, name, options)
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", sf.Name, err)
		}
		list = append(list, f)
	}
	return list, nil
}

func fieldOf(sf reflect.StructField, name, options string) (field, error) {
	f := field{name: name, doc: sf.Tag.Get("doc"), index: sf.Index, private: sf.Tag.Get("private") == "true"}
	f.rules.long, f.rules.unique = sf.Tag.Get("long") == "true", sf.Tag.Get("unique") == "true"
	if choices := sf.Tag.Get("enum"); choices != "" {
		f.rules.enum = strings.Split(choices, ",")
	}
	var err error
	for tag, to := range map[string]*int{
		"minlen": &f.rules.minLen, "maxlen": &f.rules.maxLen, "each_minlen": &f.rules.eachMin, "each_maxlen": &f.rules.eachMax,
	} {
		if text, ok := sf.Tag.Lookup(tag); ok {
			if *to, err = strconv.Atoi(text); err != nil {
				return f, fmt.Errorf("tag %s: %w", tag, err)
			}
		}
	}
	for tag, to := range map[string]**int64{"min": &f.rules.min, "max": &f.rules.max} {
		if text, ok := sf.Tag.Lookup(tag); ok {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return f, fmt.Errorf("tag %s: %w", tag, err)
			}
			*to = &n
		}
	}
	_, mayMiss := reflect.New(sf.Type).Interface().(optional)
	if text, ok := sf.Tag.Lookup("default"); ok {
		f.byDefault = defaultOf(sf.Type, text)
		mayMiss = true
	}
	f.required = !mayMiss && !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero")
	return f, nil
}

// defaultOf makes JSON of a default: it is JSON, but for texts, which need no quotes.
func defaultOf(t reflect.Type, text string) json.RawMessage {
	nullable := t.Kind() == reflect.Pointer
	if nullable {
		t = t.Elem()
	}
	_, parsed := reflect.New(t).Interface().(encoding.TextUnmarshaler)
	if (t.Kind() != reflect.String && !parsed) || (nullable && text == "null") {
		return json.RawMessage(text)
	}
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err) // of a string
	}
	return quoted
}

// checkArguments tells why Bind cannot bind to t, or nil.
func checkArguments(t reflect.Type) error {
	if t.Kind() != reflect.Struct {
		return fmt.Errorf("arguments are %v, not a struct", t)
	}
	return checkStruct(t, map[reflect.Type]bool{})
}

func checkStruct(t reflect.Type, seen map[reflect.Type]bool) error {
	if seen[t] {
		return nil
	}
	seen[t] = true
	fields, err := fieldsOf(t)
	if err != nil {
		return err
	}
	for i := range fields {
		f := &fields[i]
		ft := t.FieldByIndex(f.index).Type
		if err := checkType(ft, seen); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		if f.byDefault == nil {
			continue
		}
		if !json.Valid(f.byDefault) {
			return fmt.Errorf("%s: default %s is not JSON", f.name, f.byDefault)
		}
		b := newBinder()
		if !b.value(f.name, f.byDefault, reflect.New(ft).Elem(), &f.rules) {
			return fmt.Errorf("default: %w", b.faults.Err())
		}
	}
	return nil
}

func checkType(t reflect.Type, seen map[reflect.Type]bool) error {
	p := reflect.New(t).Interface()
	if o, ok := p.(optional); ok {
		return checkType(reflect.TypeOf(o.set()).Elem(), seen)
	}
	switch p.(type) {
	case json.Unmarshaler, encoding.TextUnmarshaler, *any, *json.Number:
		return nil
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice:
		return checkType(t.Elem(), seen)
	case reflect.Map:
		if t.Key().Kind() != reflect.String {
			return fmt.Errorf("%v: keys are not strings", t)
		}
		return checkType(t.Elem(), seen)
	case reflect.Struct:
		return checkStruct(t, seen)
	case reflect.Bool, reflect.String, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return nil
	}
	return fmt.Errorf("%v cannot be bound", t)
}
