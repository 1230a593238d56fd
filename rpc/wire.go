package rpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
)

// callData is the data of errors -32602, -32603 and -32001.
type callData struct {
	Error   Errno           `json:"error"`
	Errname string          `json:"errname"`
	Reason  string          `json:"reason"`
	Trace   *Trace          `json:"trace"`
	Extra   json.RawMessage `json:"extra"`
}

// ToWire says err the way it goes over the wire. CallError, ArgErrors and Error are found in what err wraps; anything else
// becomes -32001 with errno 22 and its text. It is nil for nil.
func ToWire(err error) *Error {
	if err == nil {
		return nil
	}
	if one, ok := errors.AsType[ArgError](err); ok {
		return argsToWire(ArgErrors{one}, one.Error())
	}
	if set, ok := errors.AsType[ArgErrors](err); ok {
		return argsToWire(set, set.Error())
	}
	if call, ok := errors.AsType[*CallError](err); ok {
		return callToWire(call)
	}
	if wire, ok := errors.AsType[*Error](err); ok {
		return wire
	}
	return callToWire(&CallError{Errno: EINVAL, Reason: err.Error(), Bare: true})
}

func argsToWire(set ArgErrors, reason string) *Error {
	triples := make([][3]any, len(set))
	for i, a := range set {
		triples[i] = [3]any{a.Attribute, a.Message, a.number()}
		if a.Null {
			triples[i][0] = nil
		}
	}
	return wireError(CodeInvalidParams, "Invalid params", EINVAL, reason, nil, triples)
}

func callToWire(e *CallError) *Error {
	return wireError(CodeCall, "Method call error", e.Errno, e.Error(), e.Trace, e.Extra)
}

// unserializable is the answer in place of a result that cannot be sent.
func unserializable(reason string) *Error {
	return wireError(CodeInternal, "Failed to JSON serialize server message", EFAULT, reason, nil, nil)
}

func wireError(code int, message string, errno Errno, reason string, trace *Trace, extra any) *Error {
	data := callData{Error: errno, Errname: errno.Name(), Reason: reason, Trace: trace}
	var err error
	if data.Extra, err = json.Marshal(extra); err != nil {
		data.Extra = json.RawMessage("null")
	}
	text, err := json.Marshal(data)
	if err != nil {
		panic(err) // of texts, a number and JSON just made
	}
	return &Error{Code: code, Message: message, Data: text}
}

// FromWire gives back what ToWire was given: an ArgError, ArgErrors or *CallError, and e itself for all else. It is nil for
// nil.
func FromWire(e *Error) error {
	if e == nil {
		return nil
	}
	var data callData
	if (e.Code != CodeCall && e.Code != CodeInvalidParams) || json.Unmarshal(e.Data, &data) != nil {
		return e
	}
	if e.Code == CodeInvalidParams {
		return argsFromWire(e, data)
	}
	call := &CallError{Errno: data.Error, Trace: data.Trace}
	reason, named := strings.CutPrefix(data.Reason, "["+data.Error.Name()+"] ")
	call.Reason, call.Bare = reason, !named
	if len(data.Extra) > 0 && !bytes.Equal(data.Extra, []byte("null")) {
		call.Extra = data.Extra
	}
	return call
}

func argsFromWire(e *Error, data callData) error {
	var triples [][]json.RawMessage
	if json.Unmarshal(data.Extra, &triples) != nil || len(triples) == 0 {
		return e
	}
	set := make(ArgErrors, len(triples))
	for i, t := range triples {
		if len(t) != 3 {
			return e
		}
		var attribute *string
		for j, to := range []any{&attribute, &set[i].Message, &set[i].Errno} {
			if json.Unmarshal(t[j], to) != nil {
				return e
			}
		}
		if attribute == nil {
			set[i].Null = true
		} else {
			set[i].Attribute = *attribute
		}
	}
	if len(set) == 1 && data.Reason == set[0].Error() {
		return set[0]
	}
	return set
}
