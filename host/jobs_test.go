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

// TestJobEvents is truenas-api.md 2.4 and decision 30, item 23: added, then changes, SUCCESS once.
func TestJobEvents(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	admin, owner := h.login(h.adminKey()), h.login(h.userKey("ann"))
	reader, nobody := h.login(h.userKey("reader", "READONLY_ADMIN")), h.login(h.userKey("bob", "SNAPSHOT_READ"))
	everybody := []*testClient{admin, owner, reader, nobody}
	for _, c := range everybody {
		c.subscribe(jobsCollection)
		c.subscribe(jobsCollection) // an event comes once all the same
	}
	all := map[string]any{"roles": []string{"REPLICATION_TASK_READ"}, "owner": "ann"}
	p.tell(17, "WAITING", "audience", all, "message_ids", []any{"x-1"})
	p.tell(17, "RUNNING")
	p.tell(17, "RUNNING", "progress", progress(50))
	p.tell(17, "SUCCESS", "result", map[string]any{"guid": json.RawMessage("18446744073709551615")})
	p.tell(33, "RUNNING", "audience", map[string]any{"roles": []string{}, "owner": nil}, "credentials", nil) // internal
	p.tell(49, "RUNNING", "audience", map[string]any{"roles": nil, "owner": "ann"})
	p.tell(65, "RUNNING", "transient", true)
	p.tell(65, "SUCCESS", "transient", true)
	p.tell(81, "FAILED", "audience", all)

	long := []string{"added 17 WAITING", "changed 17 RUNNING", "changed 17 RUNNING", "changed 17 SUCCESS"}
	end := []string{"added 81 FAILED", "changed 81 FAILED"}
	admin.jobEvents(append(append(long, "added 33 RUNNING", "added 49 RUNNING"), end...)...)
	owner.jobEvents(append(append(long, "added 49 RUNNING"), end...)...)
	reader.jobEvents(append(long, end...)...)
	for _, c := range everybody {
		c.quiet()
	}
	admin.must("core.ping", nil)
	var jobs []map[string]any
	admin.must("core.get_jobs", &jobs, []any{}, map[string]any{"select": []any{"id", "state"}})
	want := []map[string]any{
		{"id": json.Number("17"), "state": "SUCCESS"},
		{"id": json.Number("33"), "state": "RUNNING"},
		{"id": json.Number("49"), "state": "RUNNING"},
		{"id": json.Number("81"), "state": "FAILED"},
	}
	if diff := cmp.Diff(want, jobs); diff != "" {
		t.Errorf("jobs (-want +got):\n%s", diff)
	}
	nobody.must("core.get_jobs", &jobs)
	if len(jobs) != 0 {
		t.Errorf("somebody sees jobs of others: %v", jobs)
	}
	// The members of a job, in full and without what is for the host only.
	var raw json.RawMessage
	owner.must("core.get_jobs", &raw, []any{[]any{"id", "=", 17}}, map[string]any{"get": true})
	var job, members map[string]any
	for data, to := range map[string]*map[string]any{string(raw): &job, string(mustJSON(wireJob{})): &members} {
		if err := json.Unmarshal([]byte(data), to); err != nil {
			t.Fatal(err)
		}
	}
	for name := range job {
		delete(members, name)
	}
	if len(members) > 0 || len(job) != 19 {
		t.Errorf("job %s lacks %v or has too much", raw, members)
	}
	if !strings.Contains(string(raw), `"guid":18446744073709551615`) {
		t.Errorf("job %s: a large number has changed", raw)
	}
}

// TestGetJobs is core.get_jobs with filters and options (truenas-api.md 2.7, 2.8).
func TestGetJobs(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	c := h.login(h.adminKey())
	for id := int64(1); id < 100; id += jobStep {
		p.tell(id, "RUNNING", "progress", progress(int(id)))
	}
	eventually(t, "all jobs", func() bool {
		var n int
		c.must("core.get_jobs", &n, []any{}, map[string]any{"count": true})
		return n == 7
	})
	var ids []map[string]int
	c.must("core.get_jobs", &ids, []any{[]any{"progress.percent", ">", 40}},
		map[string]any{"select": []any{"id"}, "order_by": []any{"-id"}, "limit": 2})
	if diff := cmp.Diff([]map[string]int{{"id": 97}, {"id": 81}}, ids); diff != "" {
		t.Errorf("jobs (-want +got):\n%s", diff)
	}
	none := []any{[]any{"id", "=", 5}}
	err := c.call("core.get_jobs", nil, none, map[string]any{"get": true})
	checkError(t, "get", err, -32001, 22, "MatchNotFound()")
	if wire := rpc.ToWire(err); !strings.Contains(string(wire.Data), `"class":"MatchNotFound"`) {
		t.Errorf("data %s", wire.Data)
	}
	c.fails(-32602, 22, "[EINVAL] options.limit: Value error, limit must not exceed 10000\n", "core.get_jobs", none, map[string]any{"limit": 10001})
	c.fails(-32602, 22, "[EINVAL] : Too many arguments (expected 2, found 3)\n", "core.get_jobs", none, nil, nil)
}

// TestNewStyle is truenas-api.md 2.2 and 1.3: the answer to a call of a job comes at its end.
func TestNewStyle(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	c := h.login(h.adminKey())
	c.must("core.set_options", nil, map[string]any{"legacy_jobs": false})
	text := func(s string) *string { return &s }
	id := int64(1)
	run := func(end func(id int64)) (json.RawMessage, error) {
		t.Helper()
		id += jobStep
		p.on("replication.run", func(context.Context, forwarded) (any, error) {
			p.set(id, "RUNNING") // the host is told of the job only after the answer
			return id, nil
		})
		var result json.RawMessage
		done := make(chan error, 1)
		go func() { done <- c.call("replication.run", &result) }()
		eventually(t, "the host knows the job", func() bool { _, ok := h.plugins.named("zferry").jobs.get(id); return ok })
		end(id)
		return result, <-done
	}
	result, err := run(func(id int64) { p.tell(id, "SUCCESS", "result", []any{1, "a"}) })
	if err != nil || string(result) != `[1,"a"]` {
		t.Errorf("success: %s, %v", result, err)
	}
	_, err = run(func(id int64) {
		p.tell(id, "FAILED", "error", text("[EBUSY] Task is on hold"), "exception", text("where"),
			"exc_info", map[string]any{"repr": "CallError('x')", "type": "CallError", "errno": 16, "extra": []any{1}})
	})
	want := &rpc.Error{Code: -32001, Message: "Method call error", Data: json.RawMessage(`{"error":16,"errname":"EBUSY","reason":"[EBUSY] Task is on hold",` +
		`"trace":{"class":"CallError","formatted":"where","repr":"CallError('x')"},"extra":[1]}`)}
	if diff := cmp.Diff(want, rpc.ToWire(err)); diff != "" {
		t.Errorf("failure (-want +got):\n%s", diff)
	}
	faults := "[EINVAL] id: Field required\n[ENOENT] None: Job with id 5 does not exist\n"
	_, err = run(func(id int64) {
		p.tell(id, "FAILED", "error", &faults, "exc_info", map[string]any{
			"repr": "ValidationErrors()", "type": "VALIDATION", "errno": nil,
			"extra": []any{[]any{"id", "Field required", 22}, []any{nil, "Job with id 5 does not exist", 2}},
		})
	})
	checkError(t, "validation", err, -32602, 22, faults)
	_, err = run(func(id int64) {
		p.tell(id, "FAILED", "error", text("KeyError('x')"), "exc_info", map[string]any{"repr": "KeyError('x')", "type": "KeyError", "errno": nil, "extra": nil})
	})
	checkError(t, "any other exception", err, -32001, 22, "KeyError('x')")
	_, err = run(func(id int64) { p.tell(id, "ABORTED") })
	checkError(t, "aborted", err, -32001, 125, fmt.Sprintf("[ECANCELED] Job %d was aborted", id))

	// The connection to the plugin is lost while the client waits, and the end of the job with it.
	result, err = run(func(id int64) {
		p.Close(0, "")
		p.set(id, "SUCCESS", "result", "after all")
		p.rejoin(h)
	})
	if err != nil || string(result) != `"after all"` {
		t.Errorf("across a reconnect: %s, %v", result, err)
	}
	// The plugin has forgotten the job.
	_, err = run(func(id int64) {
		p.Close(0, "")
		delete(p.jobs, id)
		p.rejoin(h)
	})
	checkError(t, "forgotten", err, -32001, 14, "[EFAULT] The plugin knows nothing of this job any more")
	// It gives out a number that is none.
	p.on("replication.run", func(context.Context, forwarded) (any, error) { return 15, nil })
	c.fails(-32602, 22, "[ENOENT] None: Job with id 15 does not exist", "replication.run")
}

// TestJobWait is core.job_wait: a job of the host's own that does as another.
func TestJobWait(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	c := h.login(h.adminKey())
	c.subscribe(jobsCollection)
	p.tell(1, "RUNNING")
	c.jobEvents("added 1 RUNNING")
	var id int64
	c.must("core.job_wait", &id, 1)
	if id != 16 {
		t.Errorf("the job's id is %d", id)
	}
	c.jobEvents("added 16 WAITING", "changed 16 RUNNING")
	p.tell(1, "RUNNING", "progress", progress(40))
	c.jobEvents("changed 1 RUNNING", "changed 16 RUNNING")
	c.must("core.job_wait", &id, 16)                                            // of the host's own too
	c.jobEvents("added 32 WAITING", "changed 32 RUNNING", "changed 32 RUNNING") // it has got as far as the other
	failed := "[EFAULT] no room"
	p.tell(1, "FAILED", "error", &failed, "exc_info", map[string]any{"repr": "x", "type": "CallError", "errno": 14, "extra": nil})
	c.jobEvents("changed 1 FAILED", "changed 16 FAILED", "changed 32 FAILED")
	var jobs []wireJob
	c.must("core.get_jobs", &jobs, []any{[]any{"id", "=", 32}})
	if len(jobs) != 1 || jobs[0].Method != "core.job_wait" || *jobs[0].Error != failed || string(jobs[0].Arguments) != "[16]" ||
		!strings.Contains(string(jobs[0].Progress), `"percent":40`) || isNull(jobs[0].TimeFinished) {
		t.Errorf("jobs %+v", jobs)
	}
	c.must("core.job_wait", &id, "x")
	c.jobEvents("added 48 WAITING", "changed 48 RUNNING", "changed 48 FAILED")
	c.must("core.get_jobs", &jobs, []any{[]any{"id", "=", 48}})
	if want := `"type":"VALIDATION"`; len(jobs) != 1 || !strings.Contains(string(jobs[0].ExcInfo), want) {
		t.Errorf("jobs %+v", jobs)
	}

	c.must("core.set_options", nil, map[string]any{"legacy_jobs": false})
	c.fails(-32001, 14, failed, "core.job_wait", 1)
	c.fails(-32602, 22, "[EINVAL] id: Input should be a valid integer\n", "core.job_wait", "x")
	c.fails(-32602, 22, "[ENOENT] None: Job with id 1000 does not exist", "core.job_wait", 1000)
	p.tell(17, "SUCCESS", "result", 5)
	var result int
	eventually(t, "the result", func() bool { return c.call("core.job_wait", &result, 17) == nil })
	if result != 5 {
		t.Errorf("result %d", result)
	}
	stranger := h.login(h.userKey("bob"))
	stranger.must("core.set_options", nil, map[string]any{"legacy_jobs": false})
	stranger.fails(-32001, 1, "[EPERM] Job is not owned by current session", "core.job_wait", 1)
}

// TestJobAbort is core.job_abort and the access rules of truenas-api.md 2.5.
func TestJobAbort(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	admin, owner, reader := h.login(h.adminKey()), h.login(h.userKey("ann")), h.login(h.userKey("reader", "REPLICATION_TASK_READ"))
	p.tell(1, "RUNNING", "audience", map[string]any{"roles": []string{"REPLICATION_TASK_READ"}, "owner": "ann"})
	p.tell(17, "RUNNING", "audience", map[string]any{"roles": []string{}, "owner": nil}, "credentials", nil)
	p.tell(33, "SUCCESS")
	eventually(t, "the jobs", func() bool { _, ok := h.plugins.named("zferry").jobs.get(33); return ok })
	reader.fails(-32001, 1, "[EPERM] Job is not owned by current session", "core.job_abort", 1)
	owner.fails(-32001, 1, "[EPERM] Only users with full administrative privileges can access internally ran jobs", "core.job_abort", 17)
	owner.fails(-32602, 22, "[ENOENT] None: Job with id 99 does not exist", "core.job_abort", 99)
	var result json.RawMessage
	owner.must("core.job_abort", &result, 1)
	admin.must("core.job_abort", nil, 17)
	admin.must("core.job_abort", nil, 33) // has ended
	if string(result) != "null" {
		t.Errorf("result %s", result)
	}
	p.mu.Lock()
	if diff := cmp.Diff([]int64{1, 17}, p.aborted); diff != "" {
		t.Errorf("aborted (-want +got):\n%s", diff)
	}
	p.mu.Unlock()

	admin.subscribe(jobsCollection)
	var id int64
	admin.must("core.job_wait", &id, 1)
	admin.jobEvents("added 16 WAITING", "changed 16 RUNNING")
	admin.must("core.job_abort", nil, id)
	admin.jobEvents("changed 16 ABORTED")
}

// TestReconnectJobs: what has become of jobs while there was no connection is told when there is one again.
func TestReconnectJobs(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	c := h.login(h.adminKey())
	c.subscribe(jobsCollection)
	p.tell(1, "RUNNING")
	p.tell(17, "RUNNING")
	p.tell(33, "RUNNING")
	p.tell(49, "SUCCESS")
	c.jobEvents("added 1 RUNNING", "added 17 RUNNING", "added 33 RUNNING", "added 49 SUCCESS", "changed 49 SUCCESS")
	p.Close(0, "")
	p.set(1, "SUCCESS")
	p.set(33, "RUNNING", "progress", progress(9))
	p.set(65, "RUNNING")
	p.set(81, "FAILED")
	delete(p.jobs, 17)
	p.rejoin(h)
	p.tell(1, "SUCCESS", "rev", 1) // older than the table
	p.send("plugin.job", p.jobs[81])
	p.tell(97, "RUNNING")
	c.jobEvents("changed 1 SUCCESS", "changed 33 RUNNING", "added 65 RUNNING", "added 81 FAILED", "changed 81 FAILED", "changed 17 FAILED", "added 97 RUNNING")
	c.quiet()

	// After a restart of the host what has ended is history, unless the plugin says that nobody was told.
	dir, key := h.dir, h.adminKey()
	h.stop(nil)
	h = serveIn(t, dir)
	c = h.login(key)
	c.subscribe(jobsCollection)
	p.join(h, with(usual(), "token", h.NewToken()))
	p.send("plugin.job", p.jobs[81])
	p.send("plugin.job", p.jobs[81])
	p.tell(113, "RUNNING")
	c.jobEvents("added 33 RUNNING", "added 65 RUNNING", "added 97 RUNNING", "added 81 FAILED", "changed 81 FAILED", "added 113 RUNNING")
	c.quiet()
	var n int
	c.must("core.get_jobs", &n, []any{}, map[string]any{"count": true})
	if n != 7 {
		t.Errorf("%d jobs", n)
	}
}

// TestJobsBackwards is about a plugin that does not keep to the rules.
func TestJobsBackwards(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	c := h.login(h.adminKey())
	c.subscribe(jobsCollection)
	p.tell(1, "RUNNING", "rev", 10)
	p.tell(1, "WAITING", "rev", 9)
	p.tell(1, "WAITING", "rev", 10)
	p.tell(1, "SUCCESS", "rev", 12)
	p.tell(1, "RUNNING", "rev", 13)
	p.tell(1, "FAILED", "rev", 14)
	p.tell(2, "RUNNING") // of another series
	p.tell(16, "RUNNING")
	p.tell(-15, "RUNNING")
	p.tell(17, "SLEEPING")
	p.send("plugin.job", []int{1})
	p.send("plugin.event", map[string]any{"name": jobsCollection, "msg": "changed", "id": 1, "fields": map[string]any{}, "audience": map[string]any{"owner": "admin"}})
	p.tell(33, "RUNNING")
	c.jobEvents("added 1 RUNNING", "changed 1 SUCCESS", "added 33 RUNNING")
	c.quiet()
	if logs := h.logs.String(); strings.Count(logs, "passed over what the plugin sent") < 6 {
		t.Errorf("nothing is said of it in the log:\n%s", logs)
	}
}

// TestShutdown is the end of the host: with its plugins, or alone.
func TestShutdown(t *testing.T) {
	noLeaks(t)
	for _, cause := range []error{nil, ErrLeavePlugin} {
		process := &playedProcess{ended: make(chan error)}
		h := serve(t, func(c *Config) {
			c.Plugins = []Supervised{{Name: "zferry", Start: process.start}}
			c.Ready = nil
		})
		p := newPlayed(t)
		p.join(h, with(usual(), "token", h.NewToken()))
		c := h.login(h.adminKey())
		c.subscribe(jobsCollection)
		p.tell(1, "RUNNING")
		c.jobEvents("added 1 RUNNING")
		ended := make(chan bool)
		go func() { h.stop(cause); close(ended) }()
		// While the plugin is being ended, clients learn what becomes of their jobs.
		eventually(t, "the end begins", func() bool { return strings.Contains(h.logs.String(), "going away") })
		p.tell(1, "FAILED")
		c.jobEvents("changed 1 FAILED")
		c.must("core.ping", nil)
		if got := <-process.ended; (got == ErrLeavePlugin) != (cause == ErrLeavePlugin) { //nolint:errorlint // it is the very cause that counts
			t.Errorf("the process was ended because of %v", got)
		}
		<-ended
		c.closed(1001, "The server is going away")
		checkClosed(t, p.Conn, 1001, "The server is going away")
	}
}
