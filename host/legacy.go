package host

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"

	"github.com/zferry/zferry/rpc"
)

// legacyVersion is the one version of the legacy protocol.
const legacyVersion = "1"

// legacy is a session that speaks the protocol of /websocket (truenas-api.md 8.4). Its calls are those of the API: only
// frames and errors look otherwise.
type legacy struct {
	*session
	connected bool // belongs to the loop that reads

	mu   sync.Mutex        // guards subs
	subs map[string]string // what the client calls a subscription, as JSON: what it is called here
}

// serveLegacy is the handler of /websocket. What it is asked is taken as said in the newest version of the API.
func (h *Host) serveLegacy(w http.ResponseWriter, r *http.Request) {
	s, limit := h.newSession(r, newestAPI)
	l := &legacy{session: s, subs: make(map[string]string)}
	s.legacy, s.send = true, sendLegacy
	o := s.connOptions(limit)
	o.Frame = l.frame
	h.serveConn(w, r, o, s.run)
}

// legacyFrame is what a client says. Members that a kind of message has no use for are passed over.
type legacyFrame struct {
	Msg     string          `json:"msg"`
	ID      json.RawMessage `json:"id"`
	Version json.RawMessage `json:"version"`
	Method  json.RawMessage `json:"method"`
	Params  json.RawMessage `json:"params"`
	Name    string          `json:"name"`
}

// frame does what a frame says. It must not wait.
func (l *legacy) frame(ctx context.Context, conn *rpc.Conn, data []byte) {
	var f legacyFrame
	if err := json.Unmarshal(data, &f); err != nil || f.Msg == "" {
		if !json.Valid(data) {
			conn.Hangup(closeInvalid, "Invalid JSON")
			return
		}
		conn.Hangup(closeInternal, "'msg'")
		return
	}
	switch {
	case f.Msg == "connect":
		l.connect(conn, f)
	case !l.connected:
		conn.Reply(mustJSON(map[string]string{"msg": "failed", "version": legacyVersion}))
	case f.Msg == "method":
		l.method(ctx, conn, f)
	case f.Msg == "sub":
		l.sub(ctx, conn, f)
	case f.Msg == "unsub":
		l.unsub(ctx, conn, f)
	case f.Msg == "ping":
		answer := map[string]any{"msg": "pong"}
		if f.ID != nil {
			answer["id"] = f.ID
		}
		conn.Reply(mustJSON(answer))
	}
}

func (l *legacy) connect(conn *rpc.Conn, f legacyFrame) {
	if string(f.Version) != `"`+legacyVersion+`"` {
		conn.Reply(mustJSON(map[string]string{"msg": "failed", "version": legacyVersion}))
		return
	}
	l.connected = true
	conn.Reply(mustJSON(map[string]string{"msg": "connected", "session": l.id}))
}

func (l *legacy) method(ctx context.Context, conn *rpc.Conn, f legacyFrame) {
	if f.Method == nil {
		l.refuse(conn, f.ID, rpc.EINVAL, "Message is malformed: 'method' is absent.")
		return
	}
	var method string
	if json.Unmarshal(f.Method, &method) != nil {
		l.refuse(conn, f.ID, rpc.EINVAL, "Message is malformed: 'method' is no text.")
		return
	}
	params, ok := legacyParams(f.Params)
	if !ok {
		l.refuse(conn, f.ID, rpc.EINVAL, "`params` must be a list.")
		return
	}
	room := conn.Carry(ctx, rpc.Request{Method: method, Params: params, ID: f.ID}, func(result json.RawMessage, err error) []byte {
		if errors.Is(err, rpc.ErrMethodNotFound) {
			err = errUnknownMethod(method)
		}
		if err != nil {
			return legacyRefusal(f.ID, legacyFaultOf(err))
		}
		return mustJSON(map[string]any{"msg": "result", "id": f.ID, "result": result})
	})
	if !room {
		l.tooMany(conn, f.ID)
	}
}

// legacyParams takes whatever is empty for no params, as Python does.
func legacyParams(params json.RawMessage) (list json.RawMessage, ok bool) {
	var v any
	if len(params) > 0 && json.Unmarshal(params, &v) != nil {
		return nil, false
	}
	switch v := v.(type) {
	case []any:
		return params, true
	case map[string]any:
		ok = len(v) == 0
	default:
		ok = v == nil || v == false || v == "" || v == 0.0
	}
	return json.RawMessage("[]"), ok
}

// sub subscribes. Events come behind the answer.
func (l *legacy) sub(ctx context.Context, conn *rpc.Conn, f legacyFrame) {
	if f.ID == nil {
		conn.Hangup(closeInternal, "'id'")
		return
	}
	request := rpc.Request{Method: "core.subscribe", Params: mustJSON([]string{f.Name}), ID: f.ID}
	room := conn.Carry(ctx, request, func(result json.RawMessage, err error) []byte {
		var id string
		if err == nil {
			err = json.Unmarshal(result, &id)
		}
		if err != nil {
			return legacyRefusal(f.ID, legacySubFault(err))
		}
		l.mu.Lock()
		before, again := l.subs[string(f.ID)]
		l.subs[string(f.ID)] = id
		l.mu.Unlock()
		if again {
			l.unsubscribe(before)
		}
		return mustJSON(map[string]any{"msg": "ready", "subs": []json.RawMessage{f.ID}})
	})
	if !room {
		l.tooMany(conn, f.ID)
	}
}

// unsub ends a subscription that the client has been told of. It is not answered.
func (l *legacy) unsub(ctx context.Context, conn *rpc.Conn, f legacyFrame) {
	l.mu.Lock()
	id, known := l.subs[string(f.ID)]
	delete(l.subs, string(f.ID))
	l.mu.Unlock()
	if !known {
		return
	}
	request := rpc.Request{Method: "core.unsubscribe", Params: mustJSON([]string{id})}
	if !conn.Carry(ctx, request, func(json.RawMessage, error) []byte { return nil }) {
		l.unsubscribe(id) // many calls are no reason to go on with what nobody wants
	}
}

func (l *legacy) refuse(conn *rpc.Conn, id json.RawMessage, errno rpc.Errno, reason string) {
	conn.Reply(legacyRefusal(id, legacyFault{Error: errno, Errname: errno.Name(), Reason: reason}))
}

func (l *legacy) tooMany(conn *rpc.Conn, id json.RawMessage) {
	if id != nil {
		l.refuse(conn, id, rpc.ETOOMANYREFS, "Maximum number of concurrent calls (20) has exceeded.")
	}
}

// sendLegacy sends an event: what JSON-RPC has in its params stands by itself here.
func sendLegacy(ctx context.Context, conn *rpc.Conn, n notice) error {
	if n.method != "notify_unsubscribed" {
		return conn.Send(ctx, n.params)
	}
	var ended struct {
		Collection string       `json:"collection"`
		Error      *legacyFault `json:"error"`
	}
	if err := json.Unmarshal(n.params, &ended); err != nil {
		return err
	}
	frame := map[string]any{"msg": "nosub", "collection": ended.Collection}
	if ended.Error != nil {
		frame["error"] = ended.Error.validation()
	}
	return conn.Send(ctx, mustJSON(frame))
}

// errUnknownMethod tells what of a method's name nobody has heard of.
func errUnknownMethod(method string) error {
	if !strings.Contains(method, ".") {
		return rpc.Errorf(rpc.EBADMSG, "Invalid method name")
	}
	return errNoMethodHere(method)
}
