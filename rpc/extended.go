package rpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"time"
)

// Date is a point in time, on the wire {"$date": milliseconds} in UTC. What goes out is cut down to whole seconds, because
// clients rely on that.
type Date time.Time

// MarshalJSON cuts down to whole seconds. The zero Date is null.
func (d Date) MarshalJSON() ([]byte, error) {
	if time.Time(d).IsZero() {
		return []byte("null"), nil
	}
	return json.Marshal(map[string]int64{"$date": time.Time(d).Unix() * 1000})
}

// UnmarshalJSON keeps the milliseconds. null is the zero Date.
func (d *Date) UnmarshalJSON(data []byte) error {
	if bytes.Equal(data, []byte("null")) {
		*d = Date{}
		return nil
	}
	var ms int64
	if err := single(data, "$date", &ms); err != nil {
		return ArgError{Message: "Input should be a valid datetime"}
	}
	*d = Date(time.UnixMilli(ms).UTC())
	return nil
}

// Time is d as the standard library has it.
func (d Date) Time() time.Time { return time.Time(d) }

// Set is on the wire {"$set": [...]}; a plain array is taken too.
type Set[T any] []T

// MarshalJSON keeps the order.
func (s Set[T]) MarshalJSON() ([]byte, error) {
	list := []T(s)
	if list == nil {
		list = []T{}
	}
	return json.Marshal(map[string][]T{"$set": list})
}

// UnmarshalJSON takes both forms.
func (s *Set[T]) UnmarshalJSON(data []byte) error {
	var list []T
	if err := json.Unmarshal(data, &list); err == nil {
		*s = list
		return nil
	}
	if err := single(data, "$set", &list); err != nil {
		return ArgError{Message: "Input should be a valid set"}
	}
	*s = list
	return nil
}

// single stores the value of an object that has that key and no other.
func single(data []byte, key string, to any) error {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(data, &object); err != nil {
		return err
	}
	value, ok := object[key]
	if !ok || len(object) != 1 || bytes.Equal(value, []byte("null")) {
		return errors.New("not an object with the key " + key)
	}
	return json.Unmarshal(value, to)
}
