package rpc

import (
	"encoding"
	"encoding/json"
	"reflect"
)

// Schema is a JSON Schema (2020-12), as far as argument models need it. The zero value allows everything.
type Schema struct {
	Name        string `json:"_name_,omitempty"`     // of an argument, as core.get_methods gives it
	Required    *bool  `json:"_required_,omitempty"` // likewise
	Description string `json:"description,omitempty"`
	// Type is a string, or several in a list: the second is "null".
	Type                 any                `json:"type,omitempty"`
	Default              json.RawMessage    `json:"default,omitempty"`
	Enum                 []any              `json:"enum,omitempty"`
	Minimum              *int64             `json:"minimum,omitempty"`
	Maximum              *int64             `json:"maximum,omitempty"`
	MinLength            int                `json:"minLength,omitempty"`
	MaxLength            int                `json:"maxLength,omitempty"`
	MinItems             int                `json:"minItems,omitempty"`
	MaxItems             int                `json:"maxItems,omitempty"`
	UniqueItems          bool               `json:"uniqueItems,omitempty"`
	Items                *Schema            `json:"items,omitempty"`
	Properties           map[string]*Schema `json:"properties,omitempty"`
	RequiredProperties   []string           `json:"required,omitempty"`
	AdditionalProperties any                `json:"additionalProperties,omitempty"` // false, or a *Schema
}

// Accepts describes the arguments in their order.
func (m Method) Accepts() []*Schema {
	fields, err := fieldsOf(m.In)
	if err != nil {
		return nil // Register has checked it
	}
	list := make([]*Schema, 0, len(fields))
	for i := range fields {
		f := &fields[i]
		if f.private {
			continue
		}
		s := f.schema(m.In, describer{binds: true})
		required := f.required
		s.Name, s.Required = f.name, &required
		list = append(list, s)
	}
	return list
}

// Returns describes the result.
func (m Method) Returns() *Schema {
	if m.Job {
		return new(Schema) // Out is the job's id
	}
	return describer{}.of(m.Out, &rules{})
}

// describer makes schemas of types. Types that contain themselves are not followed further.
type describer struct {
	binds bool // of what Bind takes: it refuses unknown keys
	above []reflect.Type
}

func (f *field) schema(in reflect.Type, d describer) *Schema {
	s := d.of(in.FieldByIndex(f.index).Type, &f.rules)
	s.Description, s.Default = f.doc, f.byDefault
	return s
}

// of describes a type whose values keep the rules.
func (d describer) of(t reflect.Type, r *rules) *Schema {
	p := reflect.New(t).Interface()
	if o, ok := p.(optional); ok {
		return d.of(reflect.TypeOf(o.set()).Elem(), r)
	}
	if own, ok := p.(described); ok {
		return own.schema(d)
	}
	if t.Kind() == reflect.Pointer {
		return nullable(d.of(t.Elem(), r))
	}
	switch p.(type) {
	case *json.RawMessage, *any:
		return new(Schema)
	case *json.Number:
		return &Schema{Type: "number"}
	case json.Unmarshaler, json.Marshaler:
		return new(Schema)
	case encoding.TextUnmarshaler, encoding.TextMarshaler:
		return d.text(r)
	}
	return d.kind(t, r)
}

func (d describer) kind(t reflect.Type, r *rules) *Schema {
	switch t.Kind() {
	case reflect.String:
		return d.text(r)
	case reflect.Bool:
		return &Schema{Type: "boolean"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return &Schema{Type: "integer", Minimum: r.min, Maximum: r.max}
	case reflect.Float32, reflect.Float64:
		return &Schema{Type: "number", Minimum: r.min, Maximum: r.max}
	case reflect.Slice, reflect.Array:
		return &Schema{Type: "array", Items: d.of(t.Elem(), r.elements()), MinItems: r.minLen, MaxItems: r.maxLen, UniqueItems: r.unique}
	case reflect.Map:
		return &Schema{Type: "object", AdditionalProperties: d.of(t.Elem(), r.elements())}
	case reflect.Struct:
		return d.object(t)
	}
	return new(Schema)
}

func (d describer) text(r *rules) *Schema {
	s := &Schema{Type: "string", MinLength: r.minLen}
	for _, choice := range r.enum {
		s.Enum = append(s.Enum, choice)
	}
	if d.binds && len(r.enum) == 0 {
		s.MaxLength = r.maxText()
	}
	return s
}

func (d describer) object(t reflect.Type) *Schema {
	s := &Schema{Type: "object"}
	if d.binds {
		s.AdditionalProperties = false
	}
	for _, above := range d.above {
		if above == t {
			return &Schema{Type: "object"}
		}
	}
	fields, err := fieldsOf(t)
	if err != nil {
		return &Schema{Type: "object"} // a result that is not made for this
	}
	d.above = append(d.above[:len(d.above):len(d.above)], t)
	s.Properties = make(map[string]*Schema, len(fields))
	for i := range fields {
		f := &fields[i]
		if f.private {
			continue
		}
		s.Properties[f.name] = f.schema(t, d)
		if f.required {
			s.RequiredProperties = append(s.RequiredProperties, f.name)
		}
	}
	return s
}

// nullable allows null too.
func nullable(s *Schema) *Schema {
	if kind, ok := s.Type.(string); ok {
		s.Type = []string{kind, "null"}
	}
	if len(s.Enum) > 0 {
		s.Enum = append(s.Enum, nil)
	}
	return s
}

// described is a type of this package whose JSON form is none of Go's.
type described interface{ schema(d describer) *Schema }

func (Date) schema(describer) *Schema {
	return nullable(&Schema{
		Type: "object", Properties: map[string]*Schema{"$date": {Type: "integer", Description: "milliseconds since 1970"}},
		RequiredProperties: []string{"$date"},
	})
}

func (Set[T]) schema(d describer) *Schema {
	return &Schema{
		Type: "object", Properties: map[string]*Schema{"$set": {Type: "array", Items: d.of(reflect.TypeFor[T](), &rules{})}},
		RequiredProperties: []string{"$set"},
	}
}
