package rpc_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zferry/zferry/rpc"
)

// TestWire holds 1.3: what errors are on the wire, and that they come back as they were.
func TestWire(t *testing.T) {
	trace := &rpc.Trace{Class: "MatchNotFound", Formatted: "…", Repr: "MatchNotFound()"}
	tests := []struct {
		name string
		err  error
		want string
		back error // nil: err
	}{
		{
			"call", rpc.Errorf(rpc.EFAULT, "Task is on hold"),
			`{"code":-32001,"message":"Method call error","data":{"error":14,"errname":"EFAULT","reason":"[EFAULT] Task is on hold","trace":null,"extra":null}}`, nil,
		},
		{
			"not logged in", rpc.Errorf(rpc.ENOTAUTHENTICATED, "Not authenticated"),
			`{"code":-32001,"message":"Method call error","data":{"error":207,"errname":"ENOTAUTHENTICATED","reason":"[ENOTAUTHENTICATED] Not authenticated","trace":null,"extra":null}}`, nil,
		},
		{
			"with extra", &rpc.CallError{Errno: 2099, Reason: "x", Extra: json.RawMessage(`[1]`)},
			`{"code":-32001,"message":"Method call error","data":{"error":2099,"errname":"EUNKNOWN","reason":"[EUNKNOWN] x","trace":null,"extra":[1]}}`, nil,
		},
		{
			"bare, with trace", &rpc.CallError{Errno: rpc.EINVAL, Reason: "MatchNotFound()", Bare: true, Trace: trace},
			`{"code":-32001,"message":"Method call error","data":{"error":22,"errname":"EINVAL","reason":"MatchNotFound()",
			"trace":{"class":"MatchNotFound","formatted":"…","repr":"MatchNotFound()"},"extra":null}}`, nil,
		},
		{
			"extra that is no JSON", &rpc.CallError{Errno: rpc.EFAULT, Reason: "x", Extra: math.NaN()},
			`{"code":-32001,"message":"Method call error","data":{"error":14,"errname":"EFAULT","reason":"[EFAULT] x","trace":null,"extra":null}}`,
			rpc.Errorf(rpc.EFAULT, "x"),
		},
		{
			"wrapped", fmt.Errorf("store: %w", rpc.Errorf(rpc.ENOSPC, "full")),
			`{"code":-32001,"message":"Method call error","data":{"error":28,"errname":"ENOSPC","reason":"[ENOSPC] full","trace":null,"extra":null}}`,
			rpc.Errorf(rpc.ENOSPC, "full"),
		},
		{
			"any other", errors.New("list source: EOF"),
			`{"code":-32001,"message":"Method call error","data":{"error":22,"errname":"EINVAL","reason":"list source: EOF","trace":null,"extra":null}}`,
			&rpc.CallError{Errno: rpc.EINVAL, Reason: "list source: EOF", Bare: true},
		},
		{
			"arguments",
			rpc.ArgErrors{{Attribute: "data.name", Message: "Field required"}, {Attribute: "", Message: "taken", Errno: rpc.EEXIST}},
			`{"code":-32602,"message":"Invalid params","data":{"error":22,"errname":"EINVAL","reason":"[EINVAL] data.name: Field required\n[EEXIST] : taken\n",
			"trace":null,"extra":[["data.name","Field required",22],["","taken",17]]}}`,
			rpc.ArgErrors{{Attribute: "data.name", Message: "Field required", Errno: rpc.EINVAL}, {Message: "taken", Errno: rpc.EEXIST}},
		},
		{
			"not found", rpc.NotFound("Replication", 7),
			`{"code":-32602,"message":"Invalid params","data":{"error":22,"errname":"EINVAL","reason":"[ENOENT] None: Replication 7 does not exist",
			"trace":null,"extra":[[null,"Replication 7 does not exist",2]]}}`, nil,
		},
		{"no method", rpc.ErrMethodNotFound, `{"code":-32601,"message":"Method does not exist"}`, nil},
		{"other code", &rpc.Error{Code: -32000, Message: "too many", Data: json.RawMessage(`[1]`)}, `{"code":-32000,"message":"too many","data":[1]}`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wire := rpc.ToWire(tt.err)
			text, err := json.Marshal(wire)
			if err != nil {
				t.Fatal(err)
			}
			equalJSON(t, string(text), tt.want)
			want := tt.back
			if want == nil {
				want = tt.err
			}
			got := rpc.FromWire(wire)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("came back (-want +got):\n%s", diff)
			}
			// What is handed on looks as it came.
			text, err = json.Marshal(rpc.ToWire(got))
			if err != nil {
				t.Fatal(err)
			}
			equalJSON(t, string(text), tt.want)
		})
	}
	if rpc.ToWire(nil) != nil || rpc.FromWire(nil) != nil {
		t.Error("nil is an error")
	}
}

// TestFromWireOdd: what has not the form of our errors is kept as it is.
func TestFromWireOdd(t *testing.T) {
	for _, e := range []*rpc.Error{
		{Code: rpc.CodeCall, Message: "m"},
		{Code: rpc.CodeCall, Message: "m", Data: json.RawMessage(`"text"`)},
		{Code: rpc.CodeInvalidParams, Message: "m", Data: json.RawMessage(`{"error":22,"extra":null}`)},
		{Code: rpc.CodeInvalidParams, Message: "m", Data: json.RawMessage(`{"error":22,"extra":[[1,2,3]]}`)},
		{Code: rpc.CodeInvalidParams, Message: "m", Data: json.RawMessage(`{"error":22,"extra":[["a","b"]]}`)},
		{Code: -1, Message: "m"},
	} {
		if got := rpc.FromWire(e); !cmp.Equal(got, error(e)) {
			t.Errorf("%+v became %#v", e, got)
		}
	}
}

func TestArgErrorIsArgErrors(t *testing.T) {
	set, ok := errors.AsType[rpc.ArgErrors](fmt.Errorf("delete: %w", rpc.NotFound("Job with id", 3)))
	if !ok || len(set) != 1 || set[0].Message != "Job with id 3 does not exist" {
		t.Errorf("got %v", set)
	}
	var none rpc.ArgErrors
	if none.Err() != nil {
		t.Error("no faults are an error")
	}
	none.Add("a", "b")
	if none.Err() == nil {
		t.Error("a fault is no error")
	}
}

func TestErrnoName(t *testing.T) {
	for errno, want := range map[rpc.Errno]string{
		0: "EUNKNOWN", -1: "EUNKNOWN", 1: "EPERM", 11: "EAGAIN", 14: "EFAULT", 22: "EINVAL", 104: "ECONNRESET", 109: "ETOOMANYREFS",
		200: "EUNKNOWN", 201: "ENOMETHOD", 202: "ESERVICESTARTFAILURE", 203: "EALERTCHECKERUNAVAILABLE", 204: "EREMOTENODEERROR",
		205: "EDATASETISLOCKED", 206: "EINVALIDRRDTIMESTAMP", 207: "ENOTAUTHENTICATED", 208: "ESSLCERTVERIFICATIONERROR",
		209: "EREBOOTREQUIRED", 210: "EHAUNAVAILABLE", 211: "EUNKNOWN",
	} {
		if got := errno.Name(); got != want {
			t.Errorf("%d is %s, want %s", errno, got, want)
		}
	}
}

// TestExtended holds 1.6.
func TestExtended(t *testing.T) {
	date := rpc.Date(time.UnixMilli(1_700_000_000_999))
	out, err := json.Marshal(map[string]any{"d": date, "none": rpc.Date{}, "s": rpc.Set[string]{"A", "B"}, "empty": rpc.Set[int](nil)})
	if err != nil {
		t.Fatal(err)
	}
	equalJSON(t, string(out), `{"d":{"$date":1700000000000},"none":null,"s":{"$set":["A","B"]},"empty":{"$set":[]}}`)

	var in struct {
		D    rpc.Date
		S, T rpc.Set[string]
	}
	if err := json.Unmarshal([]byte(`{"d":{"$date":1700000000999},"s":{"$set":["A"]},"t":["B"]}`), &in); err != nil {
		t.Fatal(err)
	}
	if !in.D.Time().Equal(date.Time()) || !cmp.Equal(in.S, rpc.Set[string]{"A"}) || !cmp.Equal(in.T, rpc.Set[string]{"B"}) {
		t.Errorf("got %v", in)
	}
	for _, bad := range []string{`{"$date":1,"x":2}`, `{"$date":"1"}`, `1`, `{"$date":null}`} {
		if json.Unmarshal([]byte(bad), &in.D) == nil {
			t.Errorf("%s is a date", bad)
		}
	}
}

func TestRegistry(t *testing.T) {
	type args struct {
		ID int64 `json:"id"`
	}
	var r rpc.Registry
	rpc.Register(&r, "b.get", rpc.Meta{Roles: []string{"B_READ"}}, func(ctx context.Context, in args) (string, error) {
		caller, _ := rpc.CallerOf(ctx)
		return fmt.Sprint(caller.User, in.ID), nil
	})
	rpc.RegisterRaw[args](&r, "a.run", rpc.Meta{Job: true}, func(_ context.Context, params json.RawMessage) (int, error) {
		return len(params), nil
	})
	if m := r.Methods(); len(m) != 2 || m[0].Name != "a.run" || !m[0].Job || m[1].Name != "b.get" || m[1].In.Name() != "args" {
		t.Errorf("got %+v", m)
	}
	answer := r.Handler()
	ctx := rpc.WithCaller(t.Context(), rpc.Caller{User: "admin"})
	call := func(method, params string) (any, error) {
		return answer(ctx, nil, rpc.Request{Method: method, Params: json.RawMessage(params)})
	}
	if got, err := call("b.get", `[7]`); got != "admin7" || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := call("b.get", `["7"]`); err == nil || err.Error() != "[EINVAL] id: Input should be a valid integer\n" {
		t.Errorf("got %v", err)
	}
	if got, err := call("a.run", `["7"]`); got != 5 || err != nil { // binds later
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := call("none", ``); !errors.Is(err, rpc.ErrMethodNotFound) {
		t.Errorf("got %v", err)
	}
}

// TestRegisterPanics: mistakes of the program are found when it starts.
func TestRegisterPanics(t *testing.T) {
	register := func(add func(r *rpc.Registry)) (said string) {
		defer func() { said = fmt.Sprint(recover()) }()
		add(new(rpc.Registry))
		return ""
	}
	for want, add := range map[string]func(r *rpc.Registry){
		`rpc: method "m" registered twice`:                   func(r *rpc.Registry) { twice(r) },
		`rpc: method "m": arguments are int, not a struct`:   add[int],
		`rpc: method "m": field A has no name in a json tag`: add[struct{ A int }],
		`rpc: method "m": a: chan int cannot be bound`: add[struct {
			A chan int `json:"a"`
		}],
		`rpc: method "m": a: map[int]string: keys are not strings`: add[struct {
			A map[int]string `json:"a"`
		}],
		`rpc: method "m": a: default x is not JSON`: add[struct {
			A int `json:"a" default:"x"`
		}],
		`rpc: method "m": default: [EINVAL] a: Input should be 'A' or 'B'` + "\n": add[struct {
			A string `json:"a" enum:"A,B" default:"C"`
		}],
		`rpc: method "m": a: field B: tag min: strconv.ParseInt: parsing "x": invalid syntax`: add[struct {
			A []struct {
				B int `json:"b" min:"x"`
			} `json:"a"`
		}],
	} {
		if got := register(add); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
}

func add[In any](r *rpc.Registry) {
	rpc.Register(r, "m", rpc.Meta{}, func(context.Context, In) (any, error) { return nil, nil })
}

func twice(r *rpc.Registry) {
	add[struct{}](r)
	add[struct{}](r)
}

func TestCaller(t *testing.T) {
	c := rpc.Caller{Roles: []string{"A", "B"}}
	if !c.Can("X", "B") || c.Can("X") || c.Can() {
		t.Error("roles are mixed up")
	}
	if c.FullAdmin = true; !c.Can("X") {
		t.Error("a full administrator may not")
	}
	if _, ok := rpc.CallerOf(t.Context()); ok {
		t.Error("there is a caller")
	}
}
