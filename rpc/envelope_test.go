package rpc_test

import (
	"context"
	"strings"
	"testing"

	"github.com/zferry/zferry/rpc"
)

const sentinel = `{"jsonrpc":"2.0","method":"ping","id":"sentinel"}`

// TestEnvelope holds 1.2 and 1.3 of the clients' API: each frame gets this answer, or none, and the connection goes on.
func TestEnvelope(t *testing.T) {
	const (
		batch   = `{"jsonrpc":"2.0","error":{"code":-32700,"message":"Batch messages are not supported at this time"},"id":null}`
		format  = `{"jsonrpc":"2.0","error":{"code":-32700,"message":"Invalid Message Format"},"id":null}`
		missing = `{"code":-32600,"message":"Missing 'jsonrpc' member"}`
		version = `{"code":-32600,"message":"'jsonrpc' member must be of type string and must be exactly '2.0'"}`
		badID   = `{"code":-32600,"message":"'id' member must be of type null, string or number"}`
		noCall  = `{"code":-32600,"message":"Missing 'method' member"}`
		badCall = `{"code":-32600,"message":"'method' member must be of type string"}`
		params  = `{"code":-32600,"message":"'params' member must be of type array"}`
		unknown = `{"code":-32601,"message":"Method does not exist"}`
	)
	failure := func(fault, id string) string { return `{"jsonrpc":"2.0","error":` + fault + `,"id":` + id + `}` }
	result := func(value, id string) string { return `{"jsonrpc":"2.0","result":` + value + `,"id":` + id + `}` }
	tests := []struct {
		name, frame string
		want        string // "" is no answer
	}{
		{"call", `{"jsonrpc":"2.0","method":"ping","id":1,"params":[]}`, result(`"pong"`, "1")},
		{"params left out", `{"jsonrpc":"2.0","method":"ping","id":1}`, result(`"pong"`, "1")},
		{"extra members", `{"jsonrpc":"2.0","method":"ping","id":1,"meta":{},"ID":7,"Method":3}`, result(`"pong"`, "1")},
		{"spaces", " \n{ \"jsonrpc\" : \"2.0\", \"method\":\"ping\" , \"id\" : 1 }\t", result(`"pong"`, "1")},
		{"member twice", `{"jsonrpc":"2.0","method":"none","method":"ping","id":1,"id":2}`, result(`"pong"`, "2")},
		{
			"params as sent", `{"jsonrpc":"2.0","method":"echo","id":1,"params":[18446744073709551615,{"b":1,"a":1.0}]}`,
			result(`[18446744073709551615,{"b":1,"a":1.0}]`, "1"),
		},

		{"id text", `{"jsonrpc":"2.0","method":"ping","id":"7"}`, result(`"pong"`, `"7"`)},
		{"id empty text", `{"jsonrpc":"2.0","method":"ping","id":""}`, result(`"pong"`, `""`)},
		{"id escaped text", `{"jsonrpc":"2.0","method":"ping","id":"\u00e4,\"<\\"}`, result(`"pong"`, `"ä,\"<\\"`)},
		{"id null is a call", `{"jsonrpc":"2.0","method":"ping","id":null}`, result(`"pong"`, "null")},
		{"id 0", `{"jsonrpc":"2.0","method":"ping","id":0}`, result(`"pong"`, "0")},
		{"id negative", `{"jsonrpc":"2.0","method":"ping","id":-1}`, result(`"pong"`, "-1")},
		{
			"id beyond 64 bits", `{"jsonrpc":"2.0","method":"ping","id":123456789012345678901234567890}`,
			result(`"pong"`, "123456789012345678901234567890"),
		},
		{"id bool passes", `{"jsonrpc":"2.0","method":"ping","id":true}`, result(`"pong"`, "true")},
		{"id float", `{"jsonrpc":"2.0","method":"ping","id":1.5}`, failure(badID, "1.5")},
		{"id whole float", `{"jsonrpc":"2.0","method":"ping","id":1.0}`, failure(badID, "1.0")},
		{"id exponent", `{"jsonrpc":"2.0","method":"ping","id":1e3}`, failure(badID, "1e3")},
		{"id array", `{"jsonrpc":"2.0","method":"ping","id":[1]}`, failure(badID, "[1]")},
		{"id object", `{"jsonrpc":"2.0","method":"ping","id":{}}`, failure(badID, "{}")},
		{"id of an unknown method", `{"jsonrpc":"2.0","method":"none","id":null}`, failure(unknown, "null")},

		{"notification", `{"jsonrpc":"2.0","method":"ping"}`, ""},
		{"notification of an unknown method", `{"jsonrpc":"2.0","method":"none"}`, ""},
		{"notification that panics", `{"jsonrpc":"2.0","method":"panic"}`, ""},

		{"not JSON", `{"jsonrpc":`, `{"jsonrpc":"2.0","error":{"code":-32700,"message":"unexpected end of JSON input"},"id":null}`},
		{"empty", ``, `{"jsonrpc":"2.0","error":{"code":-32700,"message":"unexpected end of JSON input"},"id":null}`},
		{"broken batch", `[{]`, `{"jsonrpc":"2.0","error":{"code":-32700,"message":"invalid character ']' looking for beginning of object key string"},"id":null}`},
		{"batch", `[{"jsonrpc":"2.0","method":"ping","id":1}]`, batch},
		{"empty batch", `[]`, batch},
		{"text", `"ping"`, format},
		{"number", `1`, format},
		{"null", `null`, format},
		{"true", `true`, format},

		{"no version", `{"method":"ping","id":1}`, failure(missing, "1")},
		{"no version, id null", `{"method":"ping","id":null}`, failure(missing, "null")},
		{"no version, no id", `{"method":"ping"}`, ""},
		{"version 1", `{"jsonrpc":"1.0","method":"ping","id":1}`, failure(version, "1")},
		{"version number", `{"jsonrpc":2.0,"method":"ping","id":1}`, failure(version, "1")},
		{"version null", `{"jsonrpc":null,"method":"ping","id":1}`, failure(version, "1")},
		{"version before id", `{"jsonrpc":2,"method":7,"params":7,"id":{}}`, failure(version, "{}")},
		{"id before method", `{"jsonrpc":"2.0","method":7,"params":7,"id":{}}`, failure(badID, "{}")},
		{"method before params", `{"jsonrpc":"2.0","method":7,"params":7,"id":1}`, failure(badCall, "1")},
		{"no method", `{"jsonrpc":"2.0","id":1}`, failure(noCall, "1")},
		{"no method, no id", `{"jsonrpc":"2.0"}`, ""},
		{"an answer is no call", `{"jsonrpc":"2.0","result":1,"id":1}`, failure(noCall, "1")},
		{"empty object", `{}`, ""},
		{"method empty", `{"jsonrpc":"2.0","method":"","id":1}`, failure(badCall, "1")},
		{"method null", `{"jsonrpc":"2.0","method":null,"id":1}`, failure(badCall, "1")},
		{"params object", `{"jsonrpc":"2.0","method":"ping","params":{},"id":1}`, failure(params, "1")},
		{"params null", `{"jsonrpc":"2.0","method":"ping","params":null,"id":1}`, failure(params, "1")},
		{"params text, no id", `{"jsonrpc":"2.0","method":"ping","params":"x"}`, ""},
		{"unknown method", `{"jsonrpc":"2.0","method":"none","id":1}`, failure(unknown, "1")},
		{"method of another case", `{"jsonrpc":"2.0","method":"PING","id":1}`, failure(unknown, "1")},
	}
	url, _ := serve(t, rpc.Options{ArrayParams: true, Handler: func(ctx context.Context, c *rpc.Conn, r rpc.Request) (any, error) {
		if r.Method == "panic" {
			panic("told to")
		}
		return echo(ctx, c, r)
	}})
	p := dialRaw(t, url) // one connection for all: none of them may close it
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p.TB = t
			p.send(tt.frame)
			if tt.want != "" {
				equalJSON(t, p.next(), tt.want)
			}
			p.send(sentinel)
			equalJSON(t, p.next(), result(`"pong"`, `"sentinel"`))
		})
	}
}

// TestEnvelopeKeys says that answers have no members but these.
func TestEnvelopeKeys(t *testing.T) {
	url, _ := serve(t, rpc.Options{ArrayParams: true, Handler: func(_ context.Context, _ *rpc.Conn, r rpc.Request) (any, error) {
		switch r.Method {
		case "null":
			return nil, nil
		case "unserializable":
			return func() {}, nil
		case "huge":
			return strings.Repeat("x", 17<<20), nil
		}
		return nil, rpc.Errorf(rpc.EBUSY, "try later")
	}})
	p := dialRaw(t, url)
	for _, tt := range []struct{ method, want string }{
		{"null", `{"jsonrpc":"2.0","result":null,"id":1}`},
		{"busy", `{"jsonrpc":"2.0","error":{"code":-32001,"message":"Method call error","data":{"error":16,"errname":"EBUSY",
			"reason":"[EBUSY] try later","trace":null,"extra":null}},"id":1}`},
		{"unserializable", `{"jsonrpc":"2.0","error":{"code":-32603,"message":"Failed to JSON serialize server message","data":{"error":14,
			"errname":"EFAULT","reason":"json: unsupported type: func()","trace":null,"extra":null}},"id":1}`},
		{"huge", `{"jsonrpc":"2.0","error":{"code":-32603,"message":"Failed to JSON serialize server message","data":{"error":14,
			"errname":"EFAULT","reason":"result has 17825794 bytes, more than a frame may have","trace":null,"extra":null}},"id":1}`},
	} {
		p.send(`{"jsonrpc":"2.0","method":"` + tt.method + `","id":1}`)
		equalJSON(t, p.next(), tt.want)
	}
}

// TestEnvelopeLink holds what differs between a host and its plugin: params are an object, and both ends call.
func TestEnvelopeLink(t *testing.T) {
	s, c := pair(t, rpc.Options{Handler: echo}, rpc.Options{Handler: echo})
	for _, end := range []*rpc.Conn{s, c} {
		var got map[string]any
		if err := end.Call(t.Context(), "echo", map[string]any{"a": 1}, &got); err != nil {
			t.Fatal(err)
		}
		if len(got) != 1 {
			t.Errorf("got %v", got)
		}
	}

	url, _ := serve(t, rpc.Options{Handler: echo})
	p := dialRaw(t, url)
	// Answers to calls that nobody made are passed over, whatever they look like.
	for _, frame := range []string{
		`{"jsonrpc":"2.0","result":1,"id":1}`, `{"jsonrpc":"2.0","result":1,"id":null}`, `{"jsonrpc":"2.0","error":7,"id":"x"}`,
		`{"jsonrpc":"2.0","error":{"code":-32700,"message":"?"},"id":null}`, `{"result":{}}`,
	} {
		p.send(frame)
	}
	p.send(sentinel)
	equalJSON(t, p.next(), `{"jsonrpc":"2.0","result":"pong","id":"sentinel"}`)
}
