package host

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zferry/zferry/rpc"
)

// TestJobFields holds each field of a job to its row in truenas-api.md 2.4, in the answer of core.get_jobs, in events and after
// the host was started anew: of a job that has just begun, of one that ran, and of the host's own.
func TestJobFields_2_4(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	key, dir := h.adminKey(), h.dir
	c := h.login(key)
	c.subscribe(jobsCollection)
	fields := []struct{ name, fresh, sent, own string }{
		{"id", `1`, `17`, `16`},
		{"message_ids", `[]`, `["a",7]`, `["x"]`},
		{"method", `"replication.run"`, `"replication.run_onetime"`, `"core.bulk"`},
		{"arguments", `[1]`, `[{"name":"a"}]`, `["zferry.version",[[]],null]`},
		{"transient", `false`, `false`, `false`},
		{"description", `null`, `"Nightly"`, `null`},
		{"abortable", `true`, `false`, `true`},
		{"logs_path", `null`, `"/var/log/jobs/17.log"`, `null`},
		{"logs_excerpt", `null`, `"first\n... 9 more lines ...\nlast"`, `null`},
		{"progress", `{"percent":0,"description":"","extra":null}`, `{"percent":null,"description":"sending","extra":{"rate":5}}`, `{"description":"0 / 1","extra":null,"percent":100}`},
		{"result", `null`, `null`, `[{"job_id":null,"result":"done","error":null}]`},
		{"result_encoding_error", `null`, `"it is no JSON"`, `null`},
		{"error", `null`, `"[EFAULT] Task is on hold"`, `null`},
		{"exception", `null`, `"where it was"`, `null`},
		{"exc_info", `null`, `{"repr":"CallError('x')","type":"CallError","errno":14,"extra":null}`, `null`},
		{"state", `"WAITING"`, `"FAILED"`, `"SUCCESS"`},
		{"time_started", `{"$date":1700000000000}`, `{"$date":1700000001000}`, ``},
		{"time_finished", `null`, `{"$date":1700000002000}`, ``},
		{"credentials", `{"data":{"username":"admin"},"type":"API_KEY"}`, `null`, ``},
	}
	var sent []any
	for _, f := range fields {
		if f.name != "id" && f.name != "state" {
			sent = append(sent, f.name, json.RawMessage(f.sent))
		}
	}
	p.tell(1, stateWaiting)
	p.tell(17, stateFailed, sent...)
	if got := c.jobEvent(); got != "added 1 WAITING" {
		t.Errorf("event %q", got)
	}
	event := c.event()
	// A call whose id is a text is one of Python's client.
	raw := h.raw(key)
	raw.write(`{"jsonrpc":"2.0","id":"x","method":"core.bulk","params":["zferry.version",[[]],null]}`)
	if got := raw.read(); !strings.Contains(got, `"result":16`) {
		t.Errorf("answer %s", got)
	}
	jobs := func(c *testClient) map[string]map[string]json.RawMessage {
		t.Helper()
		var list []map[string]json.RawMessage
		c.must("core.get_jobs", &list)
		all := make(map[string]map[string]json.RawMessage)
		for _, j := range list {
			all[string(j["id"])] = j
		}
		return all
	}
	eventually(t, "the end of the host's own job", func() bool { return string(jobs(c)["16"]["state"]) == `"SUCCESS"` })
	var inEvent map[string]json.RawMessage
	if err := json.Unmarshal(event.Fields, &inEvent); err != nil {
		t.Fatal(err)
	}
	check := func(where string, all map[string]map[string]json.RawMessage) {
		t.Helper()
		for _, f := range fields {
			for id, want := range map[string]string{"1": f.fresh, "17": f.sent, "16": f.own} {
				got, there := all[id][f.name]
				if !there || want != "" && compact(t, want) != compact(t, string(got)) {
					t.Errorf("%s: job %s: %s is %s, want %s", where, id, f.name, got, want)
				}
			}
			if len(all["17"]) != len(fields) {
				t.Errorf("%s: %d fields", where, len(all["17"]))
			}
		}
	}
	before := jobs(c)
	check("core.get_jobs", before)
	check("event", map[string]map[string]json.RawMessage{"1": before["1"], "16": before["16"], "17": inEvent})
	_ = raw.Close()
	h.stop(nil)
	h = serveIn(t, dir)
	check("after a restart", jobs(h.login(key)))
}

// compact is JSON in one form, with sorted members.
func compact(t testing.TB, text string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return string(mustJSON(v))
}

// raw is a client that writes and reads frames, logged in.
func (h *testHost) raw(key string) *slowClient {
	h.t.Helper()
	c := h.slowTo(h.addr.Client)
	c.write(`{"jsonrpc":"2.0","id":0,"method":"auth.login_with_api_key","params":["` + key + `"]}`)
	if got := c.read(); !strings.Contains(got, `"result":true`) {
		h.t.Fatalf("answer %s", got)
	}
	return c
}

// TestJobAccess is who may do what with whose jobs (truenas-api.md 2.5).
func TestJobAccess_2_5(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	path := "/var/log/jobs/1.log"
	p.tell(1, stateRunning, "logs_path", &path, "audience", map[string]any{"roles": []string{"REPLICATION_TASK_READ"}, "owner": "ann"})
	p.tell(17, stateRunning, "logs_path", &path, "audience", map[string]any{"roles": []string{}, "owner": nil}, "credentials", nil)
	p.tell(33, stateRunning, "logs_path", &path, "audience", map[string]any{"roles": nil, "owner": "admin"})
	eventually(t, "the jobs", func() bool { _, ok := h.plugins.named("zferry").jobs.get(33); return ok })
	clients := map[string]*testClient{
		"admin": h.login(h.adminKey()), "owner": h.login(h.userKey("ann")),
		"reader": h.login(h.userKey("reader", "REPLICATION_TASK_READ")), "nobody": h.login(h.userKey("bob", "SNAPSHOT_READ")),
	}
	const foreign, internal = "[EPERM] Job is not owned by current session", "[EPERM] Only users with full administrative privileges can access internally ran jobs"
	tests := []struct {
		who         string
		job         int
		read, abort string // the error, or nothing
	}{
		{"admin", 1, "", ""},
		{"admin", 17, "", ""},
		{"admin", 33, "", ""},
		{"owner", 1, "", ""},
		{"owner", 17, internal, internal},
		{"owner", 33, foreign, foreign},
		{"reader", 1, "", foreign},
		{"reader", 17, internal, internal},
		{"reader", 33, foreign, foreign},
		{"nobody", 1, foreign, foreign},
		{"nobody", 17, internal, internal},
		{"nobody", 33, foreign, foreign},
	}
	for _, tt := range tests {
		c, what := clients[tt.who], fmt.Sprintf("%s, job %d", tt.who, tt.job)
		for method, want := range map[string]string{"core.job_download_logs": tt.read, "core.job_abort": tt.abort} {
			params := []any{tt.job}
			if method == "core.job_download_logs" {
				params = append(params, "x")
			}
			err := c.call(method, nil, params...)
			if want != "" {
				checkError(t, what+": "+method, err, -32001, rpc.EPERM, want)
			} else if err != nil {
				t.Errorf("%s: %s: %v", what, method, err)
			}
		}
		var seen int
		c.must("core.get_jobs", &seen, []any{[]any{"id", "=", tt.job}}, map[string]any{"count": true})
		if (seen == 1) != (tt.read == "") {
			t.Errorf("%s: core.get_jobs shows %d", what, seen)
		}
	}
	for _, c := range clients {
		c.fails(-32602, 22, "[ENOENT] None: Job with id 999 does not exist", "core.job_abort", 999)
		c.fails(-32602, 22, "[ENOENT] None: Job with id 999 does not exist", "core.job_download_logs", 999, "x")
	}
}

// TestSubscribe is who may subscribe to what (truenas-api.md 2.3), also with arguments, which are for event sources.
func TestSubscribe_2_3(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	h.plugin()
	notified := make(chan string, 10)
	conn, err := rpc.Dial(t.Context(), h.addr.Client, rpc.DialOptions{}, rpc.Options{
		Notified: func(_ context.Context, _ *rpc.Conn, r rpc.Request) { notified <- r.Method + " " + string(r.Params) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(0, "")
	admin := &testClient{Conn: conn, t: t}
	admin.fails(-32001, 207, "[ENOTAUTHENTICATED] Not authenticated", "core.subscribe", jobsCollection)
	admin.must("auth.login_with_api_key", nil, h.adminKey())
	user, reader := h.login(h.userKey("bob")), h.login(h.userKey("ann", "REPLICATION_TASK_READ"))
	const not = "[EACCES] Not authorized"
	tests := []struct {
		name                string
		admin, user, reader string // the error, or nothing
	}{
		{jobsCollection, "", "", ""},
		{"replication.query", "", not, ""},
		{"no.such", "", not, not},
		{"*", "", not, not},
		{jobsCollection + `:{"a":1}`, "[EINVAL] event: core.get_jobs takes no arguments\n", "[EINVAL] event: core.get_jobs takes no arguments\n", "[EINVAL] event: core.get_jobs takes no arguments\n"},
		{"replication.query:{}", "[EINVAL] event: replication.query takes no arguments\n", not, "[EINVAL] event: replication.query takes no arguments\n"},
		{"*:{}", "[EINVAL] event: * takes no arguments\n", not, not},
		{`reporting.realtime:{"interval":2}`, "", not, not},
		{"", "[EINVAL] event: String should have at least 1 character\n", "[EINVAL] event: String should have at least 1 character\n", "[EINVAL] event: String should have at least 1 character\n"},
	}
	for _, tt := range tests {
		for c, want := range map[*testClient]string{admin: tt.admin, user: tt.user, reader: tt.reader} {
			var id string
			got, err := "", c.call("core.subscribe", &id, tt.name)
			if err != nil {
				var data struct{ Reason string }
				if err := json.Unmarshal(rpc.ToWire(err).Data, &data); err != nil {
					t.Fatal(err)
				}
				got = data.Reason
			}
			if got != want || err == nil && len(id) != 36 {
				t.Errorf("%q: %q, id %q; want %q", tt.name, got, id, want)
			}
		}
	}
	want := `notify_unsubscribed {"collection":"reporting.realtime:{\"interval\":2}","error":{"error":2,"errname":"ENOENT",` +
		`"reason":"[ENOENT] There is no event source reporting.realtime:{\"interval\":2}","trace":null,"extra":null}}`
	if diff := cmp.Diff(want, <-notified); diff != "" {
		t.Errorf("notification (-want +got):\n%s", diff)
	}
}
