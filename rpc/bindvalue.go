package rpc

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"unicode/utf8"
)

// value binds one value, and tells whether nothing is wrong with it.
func (b *binder) value(path string, raw json.RawMessage, v reflect.Value, r *rules) bool {
	before := len(b.faults)
	p := v.Addr().Interface()
	if o, ok := p.(optional); ok {
		return b.value(path, raw, reflect.ValueOf(o.set()).Elem(), r)
	}
	if v.Kind() == reflect.Pointer {
		if isNull(raw) {
			v.SetZero()
			return true
		}
		to := reflect.New(v.Type().Elem())
		v.Set(to)
		return b.value(path, raw, to.Elem(), r)
	}
	switch p := p.(type) {
	case *json.RawMessage:
		*p = bytes.Clone(raw)
	case *any:
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber() // a GUID does not fit a float64
		if err := d.Decode(p); err != nil {
			b.own(path, err)
		}
	case *json.Number:
		if !isNumber(raw) {
			b.faults.Add(path, "Input should be a valid number")
		} else {
			*p = json.Number(raw)
		}
	case json.Unmarshaler:
		b.own(path, p.UnmarshalJSON(raw))
	case encoding.TextUnmarshaler:
		if text, ok := b.text(path, raw, r); ok {
			b.own(path, p.UnmarshalText([]byte(text)))
		}
	default:
		b.kind(path, raw, v, r)
	}
	if len(b.faults) > before {
		return false
	}
	b.validate(path, v)
	return len(b.faults) == before
}

// kind binds what has no way of its own.
func (b *binder) kind(path string, raw json.RawMessage, v reflect.Value, r *rules) {
	switch v.Kind() {
	case reflect.String:
		if text, ok := b.text(path, raw, r); ok {
			v.SetString(text)
		}
	case reflect.Bool:
		if text := string(raw); text != "true" && text != "false" {
			b.faults.Add(path, "Input should be a valid boolean")
		} else {
			v.SetBool(text == "true")
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		b.integer(path, raw, v, r)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		b.unsigned(path, raw, v, r)
	case reflect.Float32, reflect.Float64:
		b.float(path, raw, v, r)
	case reflect.Struct:
		b.object(path, raw, v)
	case reflect.Slice:
		b.list(path, raw, v, r)
	case reflect.Map:
		b.dictionary(path, raw, v, r)
	default:
		panic(fmt.Sprintf("rpc: %v cannot be bound", v.Type())) // a mistake in this program; Register finds it
	}
}

// text gives a string that keeps the rules.
func (b *binder) text(path string, raw json.RawMessage, r *rules) (string, bool) {
	var text string
	valid := raw[0] == '"' && json.Unmarshal(raw, &text) == nil
	fault := ""
	switch {
	case len(r.enum) > 0:
		fault = r.choose(text, valid)
	case !valid:
		fault = "Input should be a valid string"
	default:
		fault = r.length("String", "character", "", utf8.RuneCountInString(text), r.maxText())
	}
	if fault != "" {
		b.faults.Add(path, fault)
	}
	return text, fault == ""
}

func (b *binder) integer(path string, raw json.RawMessage, v reflect.Value, r *rules) {
	n, err := strconv.ParseInt(string(raw), 10, v.Type().Bits())
	bits := v.Type().Bits()
	least, most := int64(-1)<<(bits-1), int64(1)<<(bits-1)-1
	if r.min != nil {
		least = max(least, *r.min)
	}
	if r.max != nil {
		most = min(most, *r.max)
	}
	switch tooBig := errors.Is(err, strconv.ErrRange); {
	case !isNumber(raw) || (err != nil && !tooBig):
		b.faults.Add(path, "Input should be a valid integer")
	case n < least:
		b.faults.Add(path, fmt.Sprintf("Input should be greater than or equal to %d", least))
	case n > most:
		b.faults.Add(path, fmt.Sprintf("Input should be less than or equal to %d", most))
	case tooBig && n < 0:
		b.faults.Add(path, fmt.Sprintf("Input should be greater than or equal to %d", least))
	case tooBig:
		b.faults.Add(path, fmt.Sprintf("Input should be less than or equal to %d", most))
	default:
		v.SetInt(n)
	}
}

func (b *binder) unsigned(path string, raw json.RawMessage, v reflect.Value, r *rules) {
	digits, negative := bytes.CutPrefix(raw, []byte("-"))
	n, err := strconv.ParseUint(string(digits), 10, v.Type().Bits())
	least, most := uint64(0), uint64(1)<<(v.Type().Bits()-1)<<1-1
	if r.min != nil {
		least = uint64(max(0, *r.min))
	}
	if r.max != nil {
		most = min(most, uint64(max(0, *r.max)))
	}
	tooBig := errors.Is(err, strconv.ErrRange)
	switch negative = negative && (tooBig || n > 0); {
	case !isNumber(raw) || (err != nil && !tooBig):
		b.faults.Add(path, "Input should be a valid integer")
	case negative || n < least:
		b.faults.Add(path, fmt.Sprintf("Input should be greater than or equal to %d", least))
	case tooBig || n > most:
		b.faults.Add(path, fmt.Sprintf("Input should be less than or equal to %d", most))
	default:
		v.SetUint(n)
	}
}

func (b *binder) float(path string, raw json.RawMessage, v reflect.Value, r *rules) {
	n, err := strconv.ParseFloat(string(raw), v.Type().Bits())
	switch {
	case !isNumber(raw):
		b.faults.Add(path, "Input should be a valid number")
	case err != nil:
		b.faults.Add(path, "Input should be a finite number")
	case r.min != nil && n < float64(*r.min):
		b.faults.Add(path, fmt.Sprintf("Input should be greater than or equal to %d", *r.min))
	case r.max != nil && n > float64(*r.max):
		b.faults.Add(path, fmt.Sprintf("Input should be less than or equal to %d", *r.max))
	default:
		v.SetFloat(n)
	}
}

func (b *binder) list(path string, raw json.RawMessage, v reflect.Value, r *rules) {
	var items []json.RawMessage
	if raw[0] != '[' || json.Unmarshal(raw, &items) != nil {
		b.faults.Add(path, "Input should be a valid list")
		return
	}
	if fault := r.length("List", "item", " after validation", max(len(items), r.minLen), r.maxLen); fault != "" {
		b.faults.Add(path, fault) // too many are not looked at
		return
	}
	each := r.elements()
	list := reflect.MakeSlice(v.Type(), len(items), len(items))
	good := true
	for i, item := range items {
		good = b.value(join(path, strconv.Itoa(i)), item, list.Index(i), each) && good
	}
	if !good {
		return
	}
	fault := r.length("List", "item", " after validation", len(items), r.maxLen)
	if fault == "" && r.unique && hasTwins(list) {
		fault = "List must be unique"
	}
	if fault != "" {
		b.faults.Add(path, fault)
		return
	}
	v.Set(list)
}

func hasTwins(list reflect.Value) bool {
	seen := make(map[string]bool, list.Len())
	for i := range list.Len() {
		key, err := json.Marshal(list.Index(i).Interface())
		if err != nil || seen[string(key)] {
			return true
		}
		seen[string(key)] = true
	}
	return false
}

func (b *binder) dictionary(path string, raw json.RawMessage, v reflect.Value, r *rules) {
	members, ok := membersOf(raw)
	if !ok {
		b.faults.Add(path, "Input should be a valid dictionary")
		return
	}
	each := r.elements()
	m := reflect.MakeMapWithSize(v.Type(), len(members))
	for _, member := range members {
		value := reflect.New(v.Type().Elem()).Elem()
		if b.value(join(path, member.key), member.value, value, each) {
			m.SetMapIndex(reflect.ValueOf(member.key).Convert(v.Type().Key()), value)
		}
	}
	v.Set(m)
}
