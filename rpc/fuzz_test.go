package rpc_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/zferry/zferry/rpc"
)

// FuzzEnvelope: no frame is both a request and a fault, an answer is JSON with the id of the frame, and a request is what
// the frame says.
func FuzzEnvelope(f *testing.F) {
	for _, seed := range []string{
		sentinel, `{"jsonrpc":"2.0","method":"m","params":[1,{"a":1e5}],"id":null}`, `{"jsonrpc":"2.0","method":"m","params":{},"id":-1}`,
		`[{"jsonrpc":"2.0"}]`, `null`, `"x"`, `{`, `{"id":1.5}`, `{"id":true,"jsonrpc":2}`, `{"result":1,"id":1}`,
		`{"error":{"code":-32001,"message":"m","data":{"error":14,"reason":"[EFAULT] x","extra":[[null,"m",2]]}},"id":1}`,
		`{"error":{"code":-32602,"message":"m","data":{"error":22,"reason":"x","extra":[[null,"m",2],["a","b",3]]}},"id":1}`,
		`{"jsonrpc":"2.0","method":"m","id":"\ud800"}`, `{"jsonrpc":"2.0","method":"m","id":{"a":[]}}`,
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, data []byte, arrays bool) {
		r, answer := rpc.ParseFrame(data, arrays)
		var members map[string]json.RawMessage
		object := json.Unmarshal(data, &members) == nil && members != nil
		if r.Method != "" {
			if answer != nil || !object || string(r.ID) != string(members["id"]) || string(r.Params) != string(members["params"]) {
				t.Errorf("%s is taken for %+v, answered with %s", data, r, answer)
			}
			return
		}
		if answer == nil {
			return
		}
		var got struct {
			ID    json.RawMessage
			Error *rpc.Error
		}
		if err := json.Unmarshal(answer, &got); err != nil || got.Error == nil || got.Error.Message == "" {
			t.Fatalf("%s is answered with %s: %v", data, answer, err)
		}
		want := "null"
		if object {
			want = canonical(t, string(members["id"]))
		}
		if id := canonical(t, string(got.ID)); id != want {
			t.Errorf("%s is answered with %s", data, answer)
		}
	})
}

// FuzzExtended: a date or set that was read is written so that it is read again, dates in whole seconds.
func FuzzExtended(f *testing.F) {
	for _, seed := range []string{
		`{"$date":1700000000123}`, `{"$date":-1}`, `{"$date":1.5}`, `{"$date":"x"}`, `{"$date":1,"a":1}`, `{"$date":null}`, `null`, `{}`, `1`,
		`{"$date":9223372036854775807}`, `{"$set":["a","b"]}`, `{"$set":[]}`, `{"$set":null}`, `["a"]`, `{"$set":[1]}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var d rpc.Date
		if json.Unmarshal([]byte(text), &d) == nil {
			out, err := json.Marshal(d)
			if err != nil {
				t.Fatal(err)
			}
			var again rpc.Date
			if err := json.Unmarshal(out, &again); err != nil {
				t.Fatalf("%s became %s: %v", text, out, err)
			}
			if lost := d.Time().Sub(again.Time()); lost < 0 || lost >= time.Second || again.Time().Nanosecond() != 0 {
				t.Errorf("%s became %s", text, out)
			}
		}
		var s rpc.Set[string]
		if json.Unmarshal([]byte(text), &s) == nil {
			out, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			var again rpc.Set[string]
			if err := json.Unmarshal(out, &again); err != nil || len(again) != len(s) {
				t.Errorf("%s became %s: %v", text, out, err)
			}
		}
	})
}
