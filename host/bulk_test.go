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

// newStyle makes calls of jobs answer at their end.
func (c *testClient) newStyle() *testClient {
	c.t.Helper()
	c.must("core.set_options", nil, map[string]any{"legacy_jobs": false})
	return c
}

// TestBulk is core.bulk (truenas-api.md 2.6).
func TestBulk_2_6(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	c, watcher := h.login(h.adminKey()).newStyle(), h.login(h.adminKey())
	watcher.subscribe(jobsCollection)
	p.on("replication.create", func(_ context.Context, f forwarded) (any, error) {
		if strings.Contains(string(f.Params), "bad") {
			return nil, rpc.ArgErrors{{Attribute: "replication_create.name", Message: "Field required"}}
		}
		return f.Params, nil
	})
	id := int64(1)
	p.on("replication.run", func(_ context.Context, f forwarded) (any, error) {
		if id += jobStep; string(f.Params) == "[2]" {
			failed := "[EFAULT] Task is on hold"
			p.tell(id, "FAILED", "transient", true, "error", &failed, "exc_info", map[string]any{"repr": "x", "type": "CallError", "errno": 14, "extra": nil})
		} else {
			p.tell(id, "SUCCESS", "transient", true, "result", "fine")
		}
		return id, nil
	})
	p.on("replication.query", func(context.Context, forwarded) (any, error) { return nil, rpc.Errorf(rpc.EFAULT, "no") })
	tests := []struct {
		name, want string
		params     []any
	}{
		{
			"calls", `[{"job_id":null,"result":[{"name":"a"}],"error":null},{"job_id":null,"result":null,"error":"[EINVAL] replication_create.name: Field required"}]`,
			[]any{"replication.create", []any{[]any{map[string]any{"name": "a"}}, []any{map[string]any{"name": "bad"}}}},
		},
		{
			"jobs", `[{"job_id":17,"result":"fine","error":null},{"job_id":33,"result":null,"error":"[EFAULT] Task is on hold"},{"job_id":49,"result":"fine","error":null}]`,
			[]any{"replication.run", []any{[]any{1}, []any{2}, []any{3}}},
		},
		{"nothing", `[]`, []any{"replication.run", []any{}}},
		{"all fail", `[{"job_id":null,"result":null,"error":"[EFAULT] no"}]`, []any{"replication.query", []any{[]any{}}}},
		{"the host's own", `[{"job_id":null,"result":"pong","error":null}]`, []any{"core.ping", []any{[]any{}}}},
		{
			"the host's own jobs", `[{"job_id":112,"result":null,"error":"[ENOENT] None: Job with id 5 does not exist"}]`,
			[]any{"core.job_wait", []any{[]any{5}}},
		},
	}
	for _, tt := range tests {
		var result json.RawMessage
		if err := c.call(bulkMethod, &result, tt.params...); err != nil || string(result) != tt.want {
			t.Errorf("%s: %s, %v; want %s", tt.name, result, err, tt.want)
		}
	}
	for name, tt := range map[string]struct {
		code   int
		errno  rpc.Errno
		reason string
		params []any
	}{
		"no arguments":       {-32001, 22, "[EINVAL] Error handling job lock. This is most likely caused by invalid call arguments.", nil},
		"no name":            {-32001, 22, "[EINVAL] Error handling job lock. This is most likely caused by invalid call arguments.", []any{1, []any{}}},
		"no params":          {-32602, 22, "[EINVAL] params: Field required\n", []any{"core.ping"}},
		"params are no list": {-32602, 22, "[EINVAL] params.0: Input should be a valid list\n", []any{"core.ping", []any{1}}},
		"unknown":            {-32001, 201, "[ENOMETHOD] Method 'no.such' not found", []any{"no.such", []any{[]any{}}}},
		"itself":             {-32602, 22, "[EINVAL] method: core.bulk cannot call itself\n", []any{bulkMethod, []any{[]any{}}}},
		"the connection's":   {-32602, 22, "[EINVAL] method: auth.logout is about the connection of its caller and is not for core.bulk\n", []any{"auth.logout", []any{[]any{}}}},
	} {
		err := c.call(bulkMethod, nil, tt.params...)
		checkError(t, name, err, tt.code, tt.errno, tt.reason)
	}
	reader := h.login(h.userKey("ann", "REPLICATION_TASK_READ")).newStyle()
	reader.fails(-32001, 1, "[EPERM] Not authorized", bulkMethod, "replication.run", []any{[]any{1}})
	h.dial(h.addr.Client).fails(-32001, 207, "[ENOTAUTHENTICATED] Not authenticated", bulkMethod, "core.ping", []any{})
}

// TestBulkProgress: the calls are made one after the other, of which the progress tells, and secrets are in no event.
func TestBulkProgress_2_6(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	c := h.login(h.adminKey())
	enter, leave := make(chan string), make(chan bool)
	p.on("replication.create", func(_ context.Context, f forwarded) (any, error) {
		enter <- string(f.Params)
		<-leave
		return nil, nil
	})
	var id int64
	c.must(bulkMethod, &id, "replication.create", []any{[]any{map[string]any{"name": "a", "encryption_key": "hush"}}, []any{map[string]any{"name": "b"}}}, "Making {0[name]} of {0} {1} {")
	job := func() (j wireJob) {
		c.must("core.get_jobs", &j, []any{[]any{"id", "=", id}}, map[string]any{"get": true})
		return j
	}
	want := []string{
		`{"description":"0 / 2: Making a of {\"encryption_key\":\"********\",\"name\":\"a\"} {1} {","extra":null,"percent":0}`,
		`{"description":"1 / 2: Making b of {\"name\":\"b\"} {1} {","extra":null,"percent":50}`,
	}
	for _, w := range want {
		<-enter
		j := job()
		var got any
		if err := json.Unmarshal(j.Progress, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(w, string(mustJSON(got))); diff != "" || j.State != stateRunning || strings.Contains(string(j.Arguments), "hush") {
			t.Errorf("%s, arguments %s, progress (-want +got):\n%s", j.State, j.Arguments, diff)
		}
		leave <- true
	}
	eventually(t, "the end", func() bool { return job().State == stateSuccess })
	if j := job(); !strings.Contains(string(j.Progress), `"percent":100`) || !strings.Contains(string(j.Progress), "1 / 2: Making b") {
		t.Errorf("progress %s", j.Progress)
	}
}

// TestBulkLock: bulks of one method wait for each other, and can be aborted while they do (truenas-api.md 2.5).
func TestBulkLock_2_5(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	c, other := h.login(h.adminKey()), h.login(h.userKey("ann", "FULL_ADMIN"))
	p.on("replication.run", func(_ context.Context, f forwarded) (any, error) {
		id := int64(1)
		if string(f.Params) == "[2]" {
			id = 17
		}
		p.set(id, "RUNNING")
		return id, nil
	})
	bulk := func(c *testClient, arg int) (id int64) {
		t.Helper()
		c.must(bulkMethod, &id, "replication.run", []any{[]any{arg}})
		return id
	}
	first := bulk(c, 1)
	eventually(t, "the inner job", func() bool { return c.states()[1] == stateRunning })
	second, third, fourth := bulk(c, 2), bulk(c, 1), bulk(c, 1)
	for range 2 {
		bulk(c, 1)
	}
	c.fails(-32001, 16, "[EBUSY] This job is already being performed", bulkMethod, "replication.run", []any{[]any{3}})
	other.fails(-32001, 16, "[EBUSY] This job is already being performed by another user", bulkMethod, "replication.run", []any{[]any{3}})
	var pong json.RawMessage
	c.newStyle().must(bulkMethod, &pong, "core.ping", []any{[]any{}}) // has another lock
	c.must("core.job_abort", nil, third)
	eventually(t, "a job that waits is aborted", func() bool { return c.states()[third] == stateAborted })
	if got := c.states(); got[first] != stateRunning || got[second] != stateWaiting || got[fourth] != stateWaiting {
		t.Errorf("states %v", got)
	}
	p.tell(1, "SUCCESS")
	eventually(t, "the second bulk runs", func() bool {
		s := c.states()
		return s[second] == stateRunning && s[17] == stateRunning && s[fourth] == stateWaiting
	})
	c.must("core.job_abort", nil, second) // and what it waits for
	eventually(t, "the inner job is aborted", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return fmt.Sprint(p.aborted) == "[17]"
	})
	eventually(t, "it ends", func() bool { s := c.states(); return s[first] == stateSuccess && s[second] == stateAborted })
}
