// Package filter is the query language of the API over rows of JSON: query-filters pick rows, query-options select fields,
// count, order and cut. It behaves as TrueNAS' own filter engine does, down to the texts of its errors.
package filter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// ErrNoMatch is the outcome of a query with the option get that no row matches. Its text is what clients expect.
var ErrNoMatch = errors.New("MatchNotFound()")

// FieldError is a fault in the arguments. Attribute is a dotted path that starts with filters or options.
type FieldError struct {
	Attribute string
	Message   string
}

// FieldErrors is what the model of the arguments refuses: the types and ranges of options, and filters of a wrong shape.
// Every other error of this package is a failure of the call, and its text is the reason that clients see.
type FieldErrors []FieldError

func (e FieldErrors) Error() string {
	lines := make([]string, 0, len(e))
	for _, f := range e {
		lines = append(lines, f.Attribute+": "+f.Message)
	}
	return strings.Join(lines, "\n")
}

// Query is what one call asks for. It can be run any number of times, also concurrently.
type Query struct {
	options Options
	where   allOf
	fields  []field
	order   []ordering
}

// Parse reads the two arguments of a query method; either may be empty, and then has its default. The faults of both come
// back together as FieldErrors.
func Parse(filters, options json.RawMessage) (*Query, error) {
	var p parser
	var q Query
	var faults FieldErrors
	q.where, faults = p.filters(filters)
	faults = append(faults, q.parseOptions(options)...)
	if len(faults) > 0 {
		return nil, faults
	}
	// The original finds these only after the model has passed.
	if p.later != nil {
		return nil, p.later
	}
	return &q, nil
}

// Options gives the options as they were sent, with defaults filled in.
func (q *Query) Options() Options { return q.options }

// Run gives the rows that match as []map[string]any, their number as an int with the option count, or the first one as a
// map[string]any with the option get (ErrNoMatch if there is none). Rows come from Rows, or any JSON decoder with UseNumber.
// They are not changed, but what comes back shares their values.
//
// As in the original, count sees neither offset nor limit, and a field that is not selected cannot be ordered by. Unlike
// it, count together with get counts all matches.
func (q *Query) Run(rows []map[string]any) (any, error) {
	found, err := q.find(rows)
	if err != nil {
		return nil, err
	}
	if len(q.fields) > 0 {
		for i, row := range found {
			if found[i], err = project(row, q.fields); err != nil {
				return nil, err
			}
		}
	}
	if q.options.Count {
		return len(found), nil
	}
	if len(q.order) > 0 {
		if err := sortRows(found, q.order); err != nil {
			return nil, err
		}
	}
	if q.options.Get {
		if len(found) == 0 {
			return nil, ErrNoMatch
		}
		return found[0], nil
	}
	found = found[min(q.options.Offset, len(found)):]
	if q.options.Limit > 0 {
		found = found[:min(q.options.Limit, len(found))]
	}
	return found, nil
}

// find gives the rows that match, in a list of its own.
func (q *Query) find(rows []map[string]any) ([]map[string]any, error) {
	firstOnly := q.options.Get && !q.options.Count && len(q.order) == 0
	found := []map[string]any{} // an empty result is a list too
	var r run
	for _, row := range rows {
		ok, err := q.where.match(&r, row)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		found = append(found, row)
		if firstOnly {
			break
		}
	}
	return found, nil
}

// run is what one run of a query keeps from row to row.
type run struct {
	matching time.Duration // spent on regular expressions
}

// Rows turns entries into rows through their JSON form. Each entry must become an object.
func Rows[T any](entries []T) ([]map[string]any, error) {
	text, err := json.Marshal(entries)
	if err != nil {
		return nil, fmt.Errorf("rows: %w", err)
	}
	rows := make([]map[string]any, 0, len(entries))
	if err := decode(text, &rows); err != nil {
		return nil, fmt.Errorf("rows: %w", err)
	}
	return rows, nil
}

// decode reads one JSON value and keeps numbers as they are written: a GUID does not fit a float64.
func decode(text []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(to); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}
