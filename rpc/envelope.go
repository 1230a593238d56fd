package rpc

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// message is what a text frame holds: a request, or an answer to a call of ours.
type message struct {
	Request
	answer bool
	id     uint64 // of the call that is answered
	result json.RawMessage
	err    error
}

// fault is a frame that is neither. It is answered, if at all, and the connection goes on.
type fault struct {
	id  json.RawMessage // to answer with; nil: not at all
	err *Error
}

func refuse(id json.RawMessage, text string) *fault {
	return &fault{id, &Error{Code: CodeInvalidRequest, Message: text}}
}

// frame is the answer to f.
func (f *fault) frame() []byte {
	data, err := json.Marshal(struct {
		Version string          `json:"jsonrpc"`
		Error   *Error          `json:"error"`
		ID      json.RawMessage `json:"id"`
	}{"2.0", f.err, f.id})
	if err != nil {
		panic(err) // of texts and JSON that was parsed before
	}
	return data
}

// parse reads a text frame by the rules of the clients' API, in its order. With arrays only requests are messages, and params
// must be an array.
func parse(data []byte, arrays bool) (message, *fault) {
	var members map[string]json.RawMessage // a struct would take "ID" for "id"
	if f := split(data, &members); f != nil {
		return message{}, f
	}
	if _, call := members["method"]; !call && !arrays {
		_, result := members["result"]
		_, failed := members["error"]
		if result || failed {
			return parseAnswer(members)
		}
	}
	id := members["id"]
	if version, ok := members["jsonrpc"]; !ok {
		return message{}, refuse(id, "Missing 'jsonrpc' member")
	} else if text, ok := asString(version); !ok || text != "2.0" {
		return message{}, refuse(id, "'jsonrpc' member must be of type string and must be exactly '2.0'")
	}
	if id != nil && !validID(id) {
		return message{}, refuse(id, "'id' member must be of type null, string or number")
	}
	if members["method"] == nil {
		return message{}, refuse(id, "Missing 'method' member")
	}
	method, ok := asString(members["method"])
	if !ok || method == "" {
		return message{}, refuse(id, "'method' member must be of type string")
	}
	params := members["params"]
	if params != nil && params[0] != '[' && (arrays || params[0] != '{') {
		return message{}, refuse(id, "'params' member must be of type array")
	}
	return message{Request: Request{Method: method, Params: params, ID: id}}, nil
}

// split takes the members of an object.
func split(data []byte, members *map[string]json.RawMessage) *fault {
	null := json.RawMessage("null")
	err := json.Unmarshal(data, members)
	mismatch, other := errors.AsType[*json.UnmarshalTypeError](err)
	switch {
	case other && mismatch.Value == "array":
		return &fault{null, &Error{Code: CodeParse, Message: "Batch messages are not supported at this time"}}
	case other, err == nil && *members == nil:
		return &fault{null, &Error{Code: CodeParse, Message: "Invalid Message Format"}}
	case err != nil:
		return &fault{null, &Error{Code: CodeParse, Message: err.Error()}}
	}
	return nil
}

func asString(raw json.RawMessage) (text string, ok bool) {
	if raw[0] != '"' {
		return "", false
	}
	ok = json.Unmarshal(raw, &text) == nil
	return text, ok
}

// validID lets through what the clients' API does: booleans too, which are integers to its server, but no number with a
// fraction or an exponent.
func validID(id json.RawMessage) bool {
	switch id[0] {
	case '{', '[':
		return false
	case '"', 'n', 't', 'f':
		return true
	}
	for _, b := range id {
		if b != '-' && (b < '0' || b > '9') {
			return false
		}
	}
	return true
}

// parseAnswer reads what answers a call of ours. A faulty one is a fault without an answer: answering answers could go on for
// ever.
func parseAnswer(members map[string]json.RawMessage) (message, *fault) {
	m := message{answer: true, result: members["result"]}
	var err error
	if m.id, err = strconv.ParseUint(string(members["id"]), 10, 64); err != nil {
		return message{}, &fault{err: &Error{Code: CodeInvalidRequest, Message: fmt.Sprintf("answer with the id %.100s", members["id"])}}
	}
	failed := members["error"]
	if failed == nil || string(failed) == "null" {
		return m, nil
	}
	wire := new(Error)
	if err := json.Unmarshal(failed, wire); err != nil {
		wire = &Error{Code: CodeInternal, Message: "the answer is an error of unknown form"}
	}
	m.err = FromWire(wire)
	return m, nil
}
