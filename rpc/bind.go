package rpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
)

// Bind fills the fields of In, a struct, from a JSON array, an element for each field in order. All faults are found in one
// pass and reported together, with the attributes and texts of the TrueNAS API, as ArgErrors.
//
// Tags of a field:
//
//	json:"name"            what the argument or key is called; it is required, unless there is ,omitempty or ,omitzero or default
//	default:"5"            the value when it is left out; JSON, or plain text for a string
//	enum:"A,B"             a string must be one of these
//	min:"1" max:"65535"    bounds of a number
//	minlen:"1" maxlen:"9"  length of a string in characters, or of a list
//	long:"true"            a string may have more than 1024 characters
//	unique:"true"          no element of the list twice
//	private:"true"         not for callers: only the default is accepted
//	each_minlen:"1"        minlen of the elements of a list
//	doc:"bytes a second"   what the description of the API says of it
//
// On a list or map, enum, min, max and long are for its elements. Fields may be strings, booleans, numbers, structs, slices,
// maps with string keys, any (numbers become json.Number), json.RawMessage, pointers to these, for which null is allowed, and
// Optional. Embedded structs count as if their fields stood there.
//
// A type with UnmarshalText takes a string, one with UnmarshalJSON anything. A type with a Validate() error method is asked
// when nothing else is wrong with the value. What these three return becomes "Value error, " and the text at the value's
// attribute; an ArgError or ArgErrors is taken as it is, with attributes relative to the value ("" is the value itself).
func Bind[In any](params json.RawMessage) (In, error) {
	var in In
	b := newBinder()
	if err := b.arguments(params, reflect.ValueOf(&in).Elem()); err != nil {
		var none In
		return none, err
	}
	return in, nil
}

// BindValue is Bind for one value of any bindable type, such as one member of a union. attribute is its path.
func BindValue[T any](attribute string, value json.RawMessage) (T, error) {
	var v, none T
	value = bytes.TrimSpace(value)
	if !json.Valid(value) {
		return none, fmt.Errorf("bind %s: invalid JSON", attribute)
	}
	b := newBinder()
	b.value(attribute, value, reflect.ValueOf(&v).Elem(), &rules{})
	if err := b.faults.Err(); err != nil {
		return none, err
	}
	return v, nil
}

// binder binds the arguments of one call. It is our own, not mapstructure, which takes numbers for strings, does not report what
// is missing, and tells unknown keys without order and place.
type binder struct {
	faults ArgErrors
	known  map[reflect.Type][]field
}

func newBinder() *binder { return &binder{known: map[reflect.Type][]field{}} }

func (b *binder) fields(t reflect.Type) []field {
	list, ok := b.known[t]
	if !ok {
		var err error
		if list, err = fieldsOf(t); err != nil {
			panic(fmt.Sprintf("rpc: %v: %v", t, err)) // a mistake in this program; Register finds it
		}
		b.known[t] = list
	}
	return list
}

// arguments binds an array to the fields of v.
func (b *binder) arguments(params json.RawMessage, v reflect.Value) error {
	var args []json.RawMessage
	if len(params) > 0 {
		if err := json.Unmarshal(params, &args); err != nil {
			return errors.New("bind: params are not an array")
		}
	}
	fields := b.fields(v.Type())
	if len(args) > len(fields) {
		return ArgErrors{{Message: fmt.Sprintf("Too many arguments (expected %d, found %d)", len(fields), len(args))}}
	}
	for i := range fields {
		var arg json.RawMessage
		if i < len(args) {
			arg = args[i]
		}
		b.field("", &fields[i], arg, v)
	}
	if len(b.faults) == 0 {
		b.validate("", v)
	}
	return b.faults.Err()
}

// field binds a field of v. given is nil when it was left out.
func (b *binder) field(path string, f *field, given json.RawMessage, v reflect.Value) {
	path = join(path, f.name)
	target := v.FieldByIndex(f.index)
	switch {
	case given != nil && f.private:
		b.private(path, f, given, target)
	case given != nil:
		b.value(path, given, target, &f.rules)
	case f.byDefault != nil:
		b.value(path, f.byDefault, target, &f.rules)
	case f.required:
		b.faults.Add(path, "Field required")
	}
}

// private takes the default only: to callers there is no such key.
func (b *binder) private(path string, f *field, given json.RawMessage, target reflect.Value) {
	if f.byDefault != nil {
		b.value(path, f.byDefault, target, &f.rules)
	}
	trial := newBinder()
	value := reflect.New(target.Type()).Elem()
	if !trial.value(path, given, value, &f.rules) || !reflect.DeepEqual(value.Interface(), target.Interface()) {
		b.faults.Add(path, "Extra inputs are not permitted")
	}
}

// object binds the members of an object to the fields of v.
func (b *binder) object(path string, raw json.RawMessage, v reflect.Value) {
	members, ok := membersOf(raw)
	if !ok {
		b.faults.Add(path, "Input should be a valid dictionary")
		return
	}
	fields := b.fields(v.Type())
	known := make(map[string]bool, len(fields))
	for i := range fields {
		known[fields[i].name] = true
		b.field(path, &fields[i], members.get(fields[i].name), v)
	}
	for _, m := range members {
		if !known[m.key] {
			b.faults.Add(join(path, m.key), "Extra inputs are not permitted")
		}
	}
}

// validate asks the value itself.
func (b *binder) validate(path string, v reflect.Value) {
	if own, ok := v.Addr().Interface().(interface{ Validate() error }); ok {
		b.own(path, own.Validate())
	}
}

// own adds what a type says about its value.
func (b *binder) own(path string, err error) {
	if err == nil {
		return
	}
	set, ok := errors.AsType[ArgErrors](err)
	if !ok {
		b.faults.Add(path, "Value error, "+err.Error())
		return
	}
	for _, a := range set {
		if !a.Null {
			a.Attribute = join(path, a.Attribute)
		}
		b.faults = append(b.faults, a)
	}
}

func join(path, name string) string {
	if path == "" || name == "" {
		return path + name
	}
	return path + "." + name
}
