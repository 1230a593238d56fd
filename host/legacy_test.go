package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"

	"github.com/zferry/zferry/rpc"
)

// legacyClient is a client of /websocket, frame by frame.
type legacyClient struct {
	*websocket.Conn
	t testing.TB
}

// legacy connects a client over TCP that has said nothing yet.
func (h *testHost) legacy() *legacyClient {
	h.t.Helper()
	return h.legacyOver("tcp", strings.TrimPrefix(strings.TrimSuffix(h.addr.Client, "/api/current"), "ws://"))
}

func (h *testHost) legacyOver(network, address string) *legacyClient {
	h.t.Helper()
	d := websocket.Dialer{NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var nd net.Dialer
		return nd.DialContext(ctx, network, address)
	}}
	ws, response, err := d.DialContext(h.t.Context(), "ws://nas/websocket", nil)
	if err != nil {
		h.t.Fatal(err)
	}
	_ = response.Body.Close()
	h.t.Cleanup(func() { _ = ws.Close() })
	return &legacyClient{ws, h.t}
}

func (c *legacyClient) say(format string, args ...any) {
	c.t.Helper()
	if err := c.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, format, args...)); err != nil {
		c.t.Fatal(err)
	}
}

// hears compares the next frame. "*" in want is any text.
func (c *legacyClient) hears(what, want string) map[string]any {
	c.t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		c.t.Fatal(err)
	}
	_, data, err := c.ReadMessage()
	if err != nil {
		c.t.Fatalf("%s: %v", what, err)
	}
	var got, wanted map[string]any
	if err := errors.Join(json.Unmarshal(data, &got), json.Unmarshal([]byte(want), &wanted)); err != nil {
		c.t.Fatalf("%s: %s: %v", what, data, err)
	}
	for name, value := range wanted {
		if _, text := got[name].(string); value == "*" && text {
			wanted[name] = got[name]
		}
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		c.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
	return got
}

// closedWith waits for the closing frame.
func (c *legacyClient) closedWith(code int, reason string) {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	for {
		_, _, err := c.ReadMessage()
		if err == nil {
			continue
		}
		e, ok := errors.AsType[*websocket.CloseError](err)
		if !ok || e.Code != code || e.Text != reason {
			c.t.Errorf("closed with %v; want %d %q", err, code, reason)
		}
		return
	}
}

// connect does what every client does first.
func (c *legacyClient) connect() {
	c.t.Helper()
	c.say(`{"msg":"connect","version":"1","support":["1"],"features":[]}`)
	c.hears("connect", `{"msg":"connected","session":"*"}`)
}

func (c *legacyClient) login(key string) {
	c.t.Helper()
	c.say(`{"id":"login","msg":"method","method":"auth.login_with_api_key","params":[%q]}`, key)
	c.hears("login", `{"id":"login","msg":"result","result":true}`)
}

func refusal(id string, errno rpc.Errno, kind, reason, extra string) string {
	return fmt.Sprintf(`{"msg":"result","id":%s,"error":{"error":%d,"errname":%q,"type":%s,"reason":%q,"trace":null,"extra":%s}}`,
		id, errno, errno.Name(), kind, reason, extra)
}

// TestLegacyConnect_8_4 is how a connection begins.
func TestLegacyConnect_8_4(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	c := h.legacy()
	const failed = `{"msg":"failed","version":"1"}`
	for name, frame := range map[string]string{
		"a method before connect":  `{"id":1,"msg":"method","method":"core.ping","params":[]}`,
		"a sub before connect":     `{"id":1,"msg":"sub","name":"core.get_jobs"}`,
		"another version":          `{"msg":"connect","version":"2"}`,
		"a version that is number": `{"msg":"connect","version":1}`,
		"no version":               `{"msg":"connect"}`,
	} {
		c.say("%s", frame)
		c.hears(name, failed)
	}
	c.connect()
	c.say(`{"id":7,"msg":"method","method":"core.ping"}`)
	c.hears("a method after it", `{"id":7,"msg":"result","result":"pong"}`)
	c.say(`{"id":"a","msg":"ping"}`)
	c.hears("ping", `{"id":"a","msg":"pong"}`)

	for name, tt := range map[string]struct {
		frame  string
		code   int
		reason string
	}{
		"no JSON":       {`{"msg"`, 1007, "Invalid JSON"},
		"no object":     {`[]`, 1011, "'msg'"},
		"no kind":       {`{"id":1}`, 1011, "'msg'"},
		"sub, no id":    {`{"msg":"sub","name":"x"}`, 1011, "'id'"},
		"8192 and more": {`{"msg":"` + strings.Repeat("x", 8192) + `"}`, 1007, "Anonymous connection max message length is 8 kB"},
	} {
		t.Run(name, func(t *testing.T) {
			c := h.legacy()
			c.t = t
			c.connect()
			c.say("%s", tt.frame)
			c.closedWith(tt.code, tt.reason)
		})
	}
}

// TestLegacyErrors_8_4 is what calls are answered with that cannot be carried out.
func TestLegacyErrors_8_4(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	p.on("replication.query", func(context.Context, forwarded) (any, error) { return nil, rpc.NotFound("Replication", 9) })
	p.on("replication.create", func(context.Context, forwarded) (any, error) {
		return nil, rpc.ArgErrors{{Attribute: "a", Message: "one"}, {Attribute: "b", Message: "two", Errno: rpc.EEXIST}}
	})
	call := func(method, params string) string {
		return fmt.Sprintf(`{"id":1,"msg":"method","method":%q,"params":%s}`, method, params)
	}
	c := h.legacy()
	c.connect()
	c.say("%s", call("replication.query", "[]"))
	c.hears("not logged in", refusal("1", 207, "null", "[ENOTAUTHENTICATED] Not authenticated", "null"))
	c.say(`{"id":"s","msg":"sub","name":"core.get_jobs"}`)
	c.hears("a subscription, not logged in", refusal(`"s"`, 13, "null", "Not authorized", "null"))
	c.login(h.userKey("reader", "REPLICATION_TASK_READ"))
	c.say("%s", call("replication.create", "[]"))
	c.hears("no role", refusal("1", 13, "null", "[EACCES] Not authorized", "null"))
	c.say(`{"id":"s","msg":"sub","name":"keychaincredential.query"}`)
	c.hears("a subscription, no role", refusal(`"s"`, 13, "null", "Not authorized", "null"))
	c.login(h.adminKey())
	for _, tt := range []struct{ name, frame, want string }{
		{"InstanceNotFound keeps its errno", call("replication.query", "[]"), refusal("1", 2, `"VALIDATION"`, "[ENOENT] None: Replication 9 does not exist", `[[null,"Replication 9 does not exist",2]]`)},
		{"a set has EAGAIN", call("replication.create", "[{}]"), refusal("1", 11, `"VALIDATION"`, "[EINVAL] a: one\n[EEXIST] b: two\n", `[["a","one",22],["b","two",17]]`)},
		{"arguments of the host's own", call("core.unsubscribe", "[1]"), refusal("1", 11, `"VALIDATION"`, "[EINVAL] id: Input should be a valid string\n", `[["id","Input should be a valid string",22]]`)},
		{"unknown method", call("replication.nothing", "[]"), refusal("1", 201, "null", "[ENOMETHOD] Method 'nothing' not found in 'replication'", "null")},
		{"no name of a method", call("nothing", "[]"), refusal("1", 74, "null", "[EBADMSG] Invalid method name", "null")},
		{"a method of our own", call("zferry.version", "[]"), refusal("1", 201, "null", "[ENOMETHOD] Method 'version' not found in 'zferry'", "null")},
		{"no method", `{"id":1,"msg":"method"}`, refusal("1", 22, "null", "Message is malformed: 'method' is absent.", "null")},
		{"params that are no list", call("core.ping", `{"a":1}`), refusal("1", 22, "null", "`params` must be a list.", "null")},
		{"params that are a text", call("core.ping", `"x"`), refusal("1", 22, "null", "`params` must be a list.", "null")},
		{"empty params of another kind", call("core.ping", `{}`), `{"id":1,"msg":"result","result":"pong"}`},
		{"params null", call("core.ping", `null`), `{"id":1,"msg":"result","result":"pong"}`},
		{"the id of any kind", `{"id":{"a":[1.5]},"msg":"method","method":"core.ping"}`, `{"id":{"a":[1.5]},"msg":"result","result":"pong"}`},
	} {
		c.say("%s", tt.frame)
		c.hears(tt.name, tt.want)
	}
	if api := p.lastCall().Caller.API; api != "v27.0.0" {
		t.Errorf("1.1: a call reads as one of %s", api)
	}
	c.say(`{"msg":"method","method":"core.ping"}`) // no id: carried out, not answered
	c.say(`{"msg":"whatever"}`)                    // passed over
	c.say(`{"id":2,"msg":"method","method":"core.ping"}`)
	c.hears("the next", `{"id":2,"msg":"result","result":"pong"}`)
}

// TestLegacyJobs_8_4 is jobs and events: a call of a job is answered with its id, whatever the options say.
func TestLegacyJobs_8_4(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	p.on("replication.run", func(_ context.Context, f forwarded) (any, error) {
		if !f.Caller.LegacyJobs {
			t.Error("the plugin is told of a client that waits")
		}
		p.set(17, "RUNNING")
		return 17, nil
	})
	c := h.legacyOver("unix", h.addr.Sockets[0])
	c.connect()
	c.say(`{"id":1,"msg":"method","method":"core.set_options","params":[{"legacy_jobs":false}]}`)
	c.hears("options", `{"id":1,"msg":"result","result":{"legacy_jobs":false,"private_methods":false,"py_exceptions":false}}`)
	c.say(`{"id":"j","msg":"method","method":"replication.run","params":[1]}`)
	c.hears("a job", `{"id":"j","msg":"result","result":17}`)

	c.say(`{"id":"s1","msg":"sub","name":"core.get_jobs"}`)
	c.hears("sub", `{"msg":"ready","subs":["s1"]}`)
	p.tell(17, "SUCCESS", "result", true)
	got := c.hears("an event", fmt.Sprintf(`{"msg":"changed","collection":"core.get_jobs","id":17,"fields":%s}`, h.jobFields(17)))
	if fields := got["fields"].(map[string]any); fields["state"] != "SUCCESS" {
		t.Errorf("state %v", fields["state"])
	}
	c.say(`{"id":"s1","msg":"sub","name":"replication.query"}`)
	c.hears("the same name again", `{"msg":"ready","subs":["s1"]}`)
	p.tell(33, "RUNNING")
	p.send("plugin.event", map[string]any{"name": "replication.query", "msg": "removed", "id": 5, "audience": map[string]any{"roles": []string{"REPLICATION_TASK_READ"}}})
	c.hears("only what is subscribed to now", `{"msg":"removed","collection":"replication.query","id":5}`)
	c.say(`{"id":"s1","msg":"unsub"}`)
	c.say(`{"id":"other","msg":"unsub"}`)
	eventually(t, "the end of the subscription", func() bool { return !h.subscribed() })
	p.tell(49, "RUNNING")
	c.say(`{"id":2,"msg":"method","method":"core.ping"}`)
	c.hears("nothing after unsub", `{"id":2,"msg":"result","result":"pong"}`)

	h.endSources(`{"collection":"x:{}","error":null}`, `{"collection":"y","error":{"error":22,"errname":"EINVAL","reason":"r","trace":null,"extra":[["a","b",22]]}}`)
	c.hears("the end of a source", `{"msg":"nosub","collection":"x:{}"}`)
	c.hears("one with a fault", `{"msg":"nosub","collection":"y","error":{"error":11,"errname":"EAGAIN","type":"VALIDATION","reason":"r","trace":null,"extra":[["a","b",22]]}}`)
}

// jobFields is a job as events show it when it has ended.
func (h *testHost) jobFields(id int64) json.RawMessage {
	h.t.Helper()
	table := h.plugins.named("zferry").jobs
	eventually(h.t, "the end of the job", func() bool { e, ok := table.get(id); return ok && e.final() })
	e, _ := table.get(id)
	return e.fields
}

// subscribed tells whether any session wants any event.
func (h *testHost) subscribed() bool {
	h.hub.mu.RLock()
	defer h.hub.mu.RUnlock()
	for s := range h.hub.sessions {
		s.mu.Lock()
		n := len(s.subscriptions)
		s.mu.Unlock()
		if n > 0 {
			return true
		}
	}
	return false
}

// endSources says to every session that a source of events has ended.
func (h *testHost) endSources(params ...string) {
	h.hub.mu.RLock()
	defer h.hub.mu.RUnlock()
	for s := range h.hub.sessions {
		for _, p := range params {
			s.out.put(notice{method: "notify_unsubscribed", params: json.RawMessage(p)}, 0, false)
		}
	}
}

// TestLegacyLimits_8_4 is how many calls may be under way, and how large frames may be after the login.
func TestLegacyLimits_8_4(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	finish := make(chan struct{})
	p.on("replication.query", func(ctx context.Context, _ forwarded) (any, error) {
		select {
		case <-finish:
		case <-ctx.Done():
		}
		return "done", nil
	})
	c := h.legacy()
	c.connect()
	c.login(h.adminKey())
	for id := range 20 {
		c.say(`{"id":%d,"msg":"method","method":"replication.query"}`, id)
	}
	c.say(`{"id":"21st","msg":"method","method":"core.ping"}`)
	c.hears("too many", refusal(`"21st"`, 109, "null", "Maximum number of concurrent calls (20) has exceeded.", "null"))
	c.say(`{"id":"21st","msg":"sub","name":"core.get_jobs"}`)
	c.hears("too many, a subscription", refusal(`"21st"`, 109, "null", "Maximum number of concurrent calls (20) has exceeded.", "null"))
	close(finish)
	for range 20 {
		if _, data, err := c.ReadMessage(); err != nil || !strings.Contains(string(data), `"done"`) {
			t.Fatalf("%s, %v", data, err)
		}
	}
	c.say(`{"id":1,"msg":"method","method":"core.ping","params":[],"x":%q}`, strings.Repeat("x", 60_000))
	c.hears("a frame after login", `{"id":1,"msg":"result","result":"pong"}`)
	c.say(`{"id":1,"msg":"method","method":"core.ping","params":[],"x":%q}`, strings.Repeat("x", 70_000))
	c.closedWith(1009, "Max message length is 64 kB")
}
