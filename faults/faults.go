// Package faults says what is wrong with the fields of an input, all of it at once.
package faults

import (
	"errors"
	"fmt"
	"strings"
)

// Fault is what is wrong with one field. Field is a dotted path; elements of lists are numbers from 0.
type Fault struct{ Field, Text string }

// List is every fault of an input, in the order in which they are shown. An empty List is no error: see Err.
type List []Fault

// Error lists the faults, a line each.
func (l List) Error() string {
	lines := make([]string, len(l))
	for i, f := range l {
		lines[i] = f.Field + ": " + f.Text
	}
	return strings.Join(lines, "\n")
}

// Addf adds a fault.
func (l *List) Addf(field, format string, args ...any) {
	*l = append(*l, Fault{field, fmt.Sprintf(format, args...)})
}

// Err is l as an error, nil if there are no faults.
func (l List) Err() error {
	if len(l) == 0 {
		return nil
	}
	return l
}

// NotFound is an id that names nothing.
type NotFound struct {
	Kind string // Replication, KeychainCredential
	ID   int64
}

func (e *NotFound) Error() string { return fmt.Sprintf("%s %d does not exist", e.Kind, e.ID) }

// Is tells whether err is an id that names nothing.
func Is(err error) bool { return errors.As(err, new(*NotFound)) }
