package filter

import (
	"errors"
	"maps"
)

var errSelectIndex = errors.New("filter_list: selecting by list index is not supported")

// field is one field to select.
type field struct {
	path path
	name string // what it is called in the result; empty keeps its path
}

// project gives a row with the selected fields only. A field that is not there is left out.
func project(row map[string]any, fields []field) (map[string]any, error) {
	result := make(map[string]any, len(fields))
	for _, f := range fields {
		v, ok, err := f.path.find(row)
		switch {
		case err != nil:
			return nil, err
		case !ok:
		case f.name != "":
			result[f.name] = v
		default:
			f.path.put(result, v)
		}
	}
	return result, nil
}

// find follows the path through objects only.
func (p path) find(v any) (_ any, ok bool, err error) {
	for _, s := range p {
		switch at := v.(type) {
		case map[string]any:
			if v, ok = at[s.key]; !ok {
				return nil, false, nil
			}
		case []any:
			return nil, false, errSelectIndex
		default:
			return nil, false, nil
		}
	}
	return v, true, nil
}

// put sets the value at the end of the path, and makes the objects on the way. One that is there already may belong to the
// row it was selected from, so it is copied.
func (p path) put(object map[string]any, v any) {
	for _, s := range p[:len(p)-1] {
		next, ok := object[s.key].(map[string]any)
		if ok {
			next = maps.Clone(next)
		} else {
			next = make(map[string]any)
		}
		object[s.key] = next
		object = next
	}
	object[p[len(p)-1].key] = v
}
