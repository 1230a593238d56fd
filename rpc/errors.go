package rpc

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// CallError is what a method answers when it cannot do what was asked (-32001).
type CallError struct {
	Errno  Errno
	Reason string // without "[NAME] "
	// Bare says that the reason goes over the wire as it is, without "[NAME] " before it.
	Bare  bool
	Extra any
	Trace *Trace // nil is null
}

// Trace says more about an error than its reason. It is shown to clients, so no stack belongs here.
type Trace struct {
	Class     string `json:"class"`
	Formatted string `json:"formatted"`
	Repr      string `json:"repr"`
}

// Errorf makes a CallError. An error among args is part of the text only.
func Errorf(errno Errno, format string, args ...any) *CallError {
	return &CallError{Errno: errno, Reason: fmt.Sprintf(format, args...)}
}

// Error is the reason as it goes over the wire: "[EFAULT] out of space".
func (e *CallError) Error() string {
	if e.Bare {
		return e.Reason
	}
	return "[" + e.Errno.Name() + "] " + e.Reason
}

// Is lets errors.Is find ErrOutcomeUnknown, whatever the reason says after the colon and whichever side made it.
func (e *CallError) Is(target error) bool {
	unknown, ok := target.(*CallError)
	return ok && unknown == ErrOutcomeUnknown && e.Errno == unknown.Errno && strings.HasPrefix(e.Reason, unknown.Reason)
}

// ArgError is what is wrong with one argument (-32602). As an error by itself it is a set of one; errors.As and AsType find
// it as ArgErrors too.
type ArgError struct {
	// Attribute is a dotted path that begins with the argument's name; clients attach the message to that field of a form.
	Attribute string
	Null      bool // the attribute is null on the wire
	Message   string
	Errno     Errno // 0 is EINVAL
}

// Error is the reason as it goes over the wire: "[EINVAL] data.name: Field required".
func (e ArgError) Error() string {
	attribute := e.Attribute
	if e.Null {
		attribute = "None"
	}
	return "[" + e.number().Name() + "] " + attribute + ": " + e.Message
}

// As lets a caller look for ArgErrors only.
func (e ArgError) As(target any) bool {
	set, ok := target.(*ArgErrors)
	if ok {
		*set = ArgErrors{e}
	}
	return ok
}

func (e ArgError) number() Errno {
	if e.Errno == 0 {
		return EINVAL
	}
	return e.Errno
}

// ArgErrors is everything that is wrong with the arguments of a call (-32602).
type ArgErrors []ArgError

// Error is the reason as it goes over the wire: a line for each fault.
func (e ArgErrors) Error() string {
	var b strings.Builder
	for _, a := range e {
		b.WriteString(a.Error())
		b.WriteByte('\n')
	}
	return b.String()
}

// Add appends a fault with errno EINVAL.
func (e *ArgErrors) Add(attribute, message string) {
	*e = append(*e, ArgError{Attribute: attribute, Message: message})
}

// Err is nil when there is no fault.
func (e ArgErrors) Err() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// NotFound says that there is no entry with that id, such as "Replication 7 does not exist".
func NotFound(entry string, id any) ArgError {
	return ArgError{Null: true, Message: fmt.Sprintf("%s %v does not exist", entry, id), Errno: ENOENT}
}

// Error is an error as it stands on the wire. Those that CallError and ArgErrors cannot say are errors of this type.
type Error struct {
	Code    int             `json:"code"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data,omitempty"`
}

// The codes of errors on the wire.
const (
	CodeParse          = -32700
	CodeInvalidRequest = -32600
	CodeNoMethod       = -32601
	CodeInvalidParams  = -32602
	CodeInternal       = -32603
	CodeTooManyCalls   = -32000
	CodeCall           = -32001
)

func (e *Error) Error() string { return fmt.Sprintf("%s (%d)", e.Message, e.Code) }

// Is compares codes, so that ErrMethodNotFound is found in what came over the wire.
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && other.Code == e.Code
}

// CloseError tells how a connection was closed with a WebSocket close code.
type CloseError struct {
	Code   int
	Reason string
	ByPeer bool // the other end closed it, else this one because of a fault of the other
}

func (e *CloseError) Error() string {
	who := "connection closed"
	if e.ByPeer {
		who = "the other end closed the connection"
	}
	if e.Reason == "" {
		return fmt.Sprintf("%s (%d)", who, e.Code)
	}
	return fmt.Sprintf("%s: %s (%d)", who, e.Reason, e.Code)
}

// Closing is an error for a Handler that wants the connection closed after its answer: Err is answered (nil: the result),
// then the connection is closed with Code and Reason.
type Closing struct {
	Err    error
	Code   int // 0 is 1000
	Reason string
}

func (e *Closing) Error() string {
	if e.Err == nil {
		return "closing: " + e.Reason
	}
	return e.Err.Error()
}

// Unwrap gives Err.
func (e *Closing) Unwrap() error { return e.Err }

var (
	// ErrMethodNotFound is the answer to a call of something that does not exist; clients compare its text.
	ErrMethodNotFound = &Error{Code: CodeNoMethod, Message: "Method does not exist"}

	// ErrClosed is what a connection gives that was closed, for a call that was not sent.
	ErrClosed = errors.New("connection is closed")

	// ErrOutcomeUnknown is what a call gives that was under way when the connection was lost: it may have been carried out or
	// not, or still be. Use errors.Is: the reason goes on with the cause.
	ErrOutcomeUnknown = &CallError{Errno: ECONNRESET, Reason: "outcome unknown"}
)
