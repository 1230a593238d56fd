package rpc

import (
	"bytes"
	"encoding/json"
)

// Optional is a value that may be left out, of a partial update. Optional[*T] tells null from left out. For encoding/json the
// tag needs ,omitzero.
type Optional[T any] struct {
	Set   bool
	Value T
}

// Some is an Optional that is there.
func Some[T any](v T) Optional[T] { return Optional[T]{Set: true, Value: v} }

// Apply stores the value, if there is one, in what to points to.
func (o Optional[T]) Apply(to *T) {
	if o.Set {
		*to = o.Value
	}
}

// IsZero tells encoding/json that it was left out.
func (o Optional[T]) IsZero() bool { return !o.Set }

// MarshalJSON gives the value only.
func (o Optional[T]) MarshalJSON() ([]byte, error) { return json.Marshal(o.Value) }

// UnmarshalJSON takes the value.
func (o *Optional[T]) UnmarshalJSON(data []byte) error {
	o.Set = true
	return json.Unmarshal(data, &o.Value)
}

// optional is how Bind knows an Optional of any type.
type optional interface {
	set() any // says that there is a value, and gives a pointer to it
}

func (o *Optional[T]) set() any {
	o.Set = true
	return &o.Value
}

// member is a key of an object with its value.
type member struct {
	key   string
	value json.RawMessage
}

// members are those of an object in their order; of a key that is there twice the last value counts, in the first place.
type members []member

// membersOf takes an object apart. raw is valid JSON.
func membersOf(raw json.RawMessage) (members, bool) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if begin, err := d.Token(); err != nil || begin != json.Delim('{') {
		return nil, false
	}
	list, place := members{}, map[string]int{}
	for d.More() {
		token, err := d.Token()
		key, ok := token.(string)
		if err != nil || !ok {
			return nil, false
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, false
		}
		if at, twice := place[key]; twice {
			list[at].value = value
			continue
		}
		place[key] = len(list)
		list = append(list, member{key, value})
	}
	return list, true
}

func (m members) get(key string) json.RawMessage {
	for i := range m {
		if m[i].key == key {
			return m[i].value
		}
	}
	return nil
}

func isNull(raw json.RawMessage) bool { return string(raw) == "null" }

func isNumber(raw json.RawMessage) bool { return raw[0] == '-' || (raw[0] >= '0' && raw[0] <= '9') }
