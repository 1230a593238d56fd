package host

import (
	"bytes"
	"encoding/json"
	"errors"

	"github.com/zferry/zferry/rpc"
)

// legacyFault is an error as the legacy protocol says it.
type legacyFault struct {
	Error   rpc.Errno       `json:"error"`
	Errname string          `json:"errname"`
	Type    *string         `json:"type"`
	Reason  string          `json:"reason"`
	Trace   *rpc.Trace      `json:"trace"`
	Extra   json.RawMessage `json:"extra"`
}

func legacyRefusal(id json.RawMessage, f legacyFault) []byte {
	return mustJSON(map[string]any{"msg": "result", "id": id, "error": f})
}

// legacyFaultOf says err in the legacy way: one faulty argument keeps its own errno, a set of them has EAGAIN.
func legacyFaultOf(err error) legacyFault {
	wire := rpc.ToWire(err)
	f := legacyFault{Error: rpc.EINVAL, Errname: rpc.EINVAL.Name(), Reason: wire.Message}
	if len(wire.Data) > 0 {
		_ = json.Unmarshal(wire.Data, &f) // it was made just now; what has no data has its message
	}
	one, single := errors.AsType[rpc.ArgError](err)
	switch {
	case single:
		f = f.validation()
		f.Error = rpc.EINVAL
		if one.Errno != 0 {
			f.Error = one.Errno
		}
		f.Errname = f.Error.Name()
	case wire.Code == rpc.CodeInvalidParams:
		f = f.validation()
	}
	return f
}

// validation makes f the fault of arguments, if it has those with its extra.
func (f legacyFault) validation() legacyFault {
	if bytes.HasPrefix(f.Extra, []byte("[")) {
		kind := "VALIDATION"
		f.Type, f.Error, f.Errname = &kind, rpc.EAGAIN, rpc.EAGAIN.Name()
	}
	return f
}

// legacySubFault is why there is no subscription. Whoever may not have it is told nothing else.
func legacySubFault(err error) legacyFault {
	call, ok := errors.AsType[*rpc.CallError](err)
	if ok && (call.Errno == rpc.EACCES || call.Errno == rpc.ENOTAUTHENTICATED) {
		return legacyFault{Error: rpc.EACCES, Errname: rpc.EACCES.Name(), Reason: "Not authorized"}
	}
	return legacyFaultOf(err)
}
