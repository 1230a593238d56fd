package methods_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/zferry/zferry/jobs"
	"github.com/zferry/zferry/methods"
	"github.com/zferry/zferry/rpc"
	"github.com/zferry/zferry/store"
	"github.com/zferry/zferry/testing/fakezfs"
)

// start calls a job method and gives the id of its job.
func (a *api) start(who rpc.Caller, method, params string) int64 {
	a.t.Helper()
	id, err := strconv.ParseInt(a.must(who, method, params), 10, 64)
	if err != nil {
		a.t.Fatalf("2.2: %s(%s) gave no id: %v", method, params, err)
	}
	return id
}

// ended waits for the end of a job and gives it as clients see it.
func (a *api) ended(id int64) string {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), patience)
	defer cancel()
	j, err := a.jobs.Wait(ctx, id)
	if err != nil {
		a.t.Fatalf("job %d: %v", id, err)
	}
	return rendered(a.t, j)
}

func rendered(t *testing.T, j jobs.Job) string {
	t.Helper()
	text, err := json.Marshal(methods.RenderJob(j))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// wantFailed compares what a job says of its failure.
func (a *api) wantFailed(id int64, text, kind, errno, extra string) {
	a.t.Helper()
	job := a.ended(id)
	wantJSON(a.t, "2.4: state", `"FAILED"`, at(a.t, job, "state"))
	wantJSON(a.t, "2.4: error", quoted(text), at(a.t, job, "error"))
	wantJSON(a.t, "2.4: exc_info.type", `"`+kind+`"`, at(a.t, job, "exc_info.type"))
	wantJSON(a.t, "2.4: exc_info.errno", errno, at(a.t, job, "exc_info.errno"))
	wantJSON(a.t, "2.4: exc_info.extra", extra, at(a.t, job, "exc_info.extra"))
	wantJSON(a.t, "2.4: result", `null`, at(a.t, job, "result"))
	if e := at(a.t, job, "exception"); !strings.Contains(e, kind) {
		a.t.Errorf("2.4: exception %s", e)
	}
}

const jobKeys = "id rev message_ids method arguments transient description abortable logs_path logs_excerpt progress result " +
	"result_encoding_error error exception exc_info state time_started time_finished credentials"

// TestJobObject holds 2.4: the 19 fields, with rev beside them (docs/host-protocol.md), of a job of every kind.
func TestJobObject(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.series()
	a.do("zfs create tank/data")
	a.do("zfs snapshot tank/data@one")
	a.must(tasksWriter(), "replication.create", definition(""))
	who := tasksWriter()
	who.MessageID, who.Credentials = json.RawMessage(`"seven"`), json.RawMessage(`{"type": "LOGIN_PASSWORD", "data": {"username": "ann"}}`)
	id := a.start(who, "replication.run", `[1]`)
	job := a.ended(id)
	if keys := keysOf(t, job); strings.Join(keys, " ") != jobKeys || len(keys) != 20 {
		t.Errorf("2.4: keys %v", keys)
	}
	for path, want := range map[string]string{
		"id": "1", "message_ids": `["seven"]`, "method": `"replication.run"`, "arguments": `[1]`, "transient": "false", "description": "null", "abortable": "true",
		"result": "null", "result_encoding_error": "null", "error": "null", "exception": "null", "exc_info": "null", "state": `"SUCCESS"`,
		"credentials": `{"type": "LOGIN_PASSWORD", "data": {"username": "ann"}}`, "progress.percent": "100",
	} {
		wantJSON(t, "2.4: "+path, want, at(t, job, path))
	}
	wantKeys(t, "2.4: progress", at(t, job, "progress"), "percent", "description", "extra")
	wantKeys(t, "docs/host-protocol.md: progress.extra", at(t, job, "progress.extra"),
		"dataset", "snapshot", "snapshots_sent", "snapshots_total", "bytes_sent", "bytes_total", "rate", "left", "elapsed")
	for _, path := range []string{"time_started", "time_finished"} {
		ms, err := strconv.ParseInt(at(t, job, path+".$date"), 10, 64)
		if err != nil || ms <= 0 || ms%1000 != 0 {
			t.Errorf("1.6: %s is %s, %v", path, at(t, job, path), err)
		}
	}
	if log := at(t, job, "logs_excerpt"); !strings.Contains(log, "planned") {
		t.Errorf("2.4: logs_excerpt %s", log)
	}
	j, err := a.jobs.Get(id)
	if err != nil || !slices.Equal(j.ReadRoles, []string{tasksRead}) || j.Owner != "ann" || j.Key != "replication:1" {
		t.Errorf("3.1: job %+v, %v", j, err)
	}

	// Nothing but the least.
	bare := rendered(t, jobs.Job{ID: 3, Rev: 9, Method: "x.y", Arguments: json.RawMessage(`[]`), State: jobs.Waiting, Progress: jobs.Progress{Percent: jobs.Percent(0)}})
	wantJSON(t, "2.4", `{"id": 3, "rev": 9, "message_ids": [], "method": "x.y", "arguments": [], "transient": false, "description": null, "abortable": false,
		"logs_path": null, "logs_excerpt": null, "progress": {"percent": 0, "description": "", "extra": null}, "result": null,
		"result_encoding_error": null, "error": null, "exception": null, "exc_info": null, "state": "WAITING", "time_started": null,
		"time_finished": null, "credentials": null}`, bare)
}

// TestReplicationRun holds 3.5 and 3.7: the entry and the events of a run, with the job inside the state of an event.
func TestReplicationRun(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.series()
	a.do("zfs create tank/data")
	if err := a.here.Write("tank/data", 8<<20); err != nil {
		t.Fatal(err)
	}
	a.do("zfs snapshot tank/data@one")
	a.must(tasksWriter(), "replication.create", definition(""))
	a.events.take()
	a.want(tasksWriter(), "replication.delete", `[`+strconv.FormatInt(id(t, a.must(tasksWriter(), "replication.create", definition(`"name": "gone"`))), 10)+`]`, `true`)
	a.events.take()
	if err := a.here.SetSwitches(fakezfs.Switches{Rate: 8 << 20}); err != nil {
		t.Fatal(err)
	}
	// An administrator may say what is the default (1.4).
	job := a.start(tasksWriter(), "replication.run", `[1, {"really_run": true}]`)
	running := a.ended(job)
	if at(t, running, "state") != `"SUCCESS"` {
		t.Fatalf("job %s", running)
	}
	states := map[string]string{} // the last of each
	for _, e := range a.events.take() {
		fields := fieldsOf(t, e)
		wantKeys(t, "3.7: event", fields, "state")
		if e.Name != "replication.query" || e.Msg != "changed" || e.ID != 1 {
			t.Errorf("3.7: event %+v", e)
		}
		wantJSON(t, "3.7: job in the state", fmt.Sprint(job), at(t, fields, "state.job.id"))
		state := at(t, fields, "state")
		states[at(t, state, "state")] = state
	}
	progress := at(t, states[`"RUNNING"`], "progress")
	wantKeys(t, "3.7: progress", progress, "bytes_sent", "bytes_total", "current", "dataset", "snapshot", "snapshots_sent", "snapshots_total", "total")
	for path, want := range map[string]string{"dataset": `"tank/data"`, "snapshot": `"one"`, "snapshots_sent": "1", "snapshots_total": "1"} {
		wantJSON(t, "3.7: progress."+path, want, at(t, progress, path))
	}
	if at(t, progress, "bytes_sent") != at(t, progress, "current") || at(t, progress, "bytes_total") != at(t, progress, "total") {
		t.Errorf("3.7: legacy copies differ: %s", progress)
	}
	wantKeys(t, "3.7: RUNNING", states[`"RUNNING"`], "datetime", "job", "last_snapshot", "progress", "state")
	wantKeys(t, "3.7: FINISHED", states[`"FINISHED"`], "datetime", "job", "last_snapshot", "state", "warnings")

	entry := a.must(tasksReader(), "replication.get_instance", `[1]`)
	wantKeys(t, "3.7: FINISHED", at(t, entry, "state"), "datetime", "last_snapshot", "state", "warnings")
	wantJSON(t, "3.7: last_snapshot", `"tank/data@one"`, at(t, entry, "state.last_snapshot"))
	wantJSON(t, "3.7: warnings", `[]`, at(t, entry, "state.warnings"))
	wantJSON(t, "3.7: job", running, at(t, entry, "job"))
	a.want(tasksReader(), "replication.query", `[[["job.state", "=", "SUCCESS"], ["state.datetime.$date", ">", "2020-01-01T00:00:00Z"]], {"count": true}]`, `1`)
}

func id(t *testing.T, entry string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(at(t, entry, "id"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestReplicationRunFails holds the texts of 3.5 and 5.7, and ERROR and HOLD of 3.7.
func TestReplicationRunFails(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.series()
	a.withConnection()
	a.do("zfs create tank/data")
	if err := a.here.Write("tank/data", 4<<20); err != nil {
		t.Fatal(err)
	}
	a.do("zfs snapshot tank/data@one")
	a.wantFailed(a.start(tasksWriter(), "replication.run", `[7]`), "[ENOENT] None: Replication 7 does not exist\n", "VALIDATION", "2",
		`[[null, "Replication 7 does not exist", 2]]`)

	a.must(tasksWriter(), "replication.create", definition(`"source_datasets": ["tank/none"]`))
	first := a.start(tasksWriter(), "replication.run", `[1]`)
	job := a.ended(first)
	var text string
	if err := json.Unmarshal([]byte(at(t, job, "error")), &text); err != nil {
		t.Fatal(err)
	}
	sentence, found := strings.CutPrefix(text, "[EFAULT] ")
	if !found || !strings.HasSuffix(sentence, ".") || !strings.Contains(sentence, "tank/none") {
		t.Errorf("5.7: error %q", text)
	}
	a.wantFailed(first, text, "CallError", "14", `null`)
	entry := a.must(tasksReader(), "replication.get_instance", `[1]`)
	wantKeys(t, "3.7: ERROR", at(t, entry, "state"), "datetime", "error", "last_snapshot", "state")
	wantJSON(t, "3.7: error", quoted(sentence), at(t, entry, "state.error"))
	wantJSON(t, "3.7: last_snapshot", `null`, at(t, entry, "state.last_snapshot"))
	wantJSON(t, "3.7: job", job, at(t, entry, "job"))

	a.must(tasksWriter(), "replication.create", definition(`"name": "weekly"`))
	if err := a.here.SetSwitches(fakezfs.Switches{Hang: map[string]int64{"send": 1 << 20}}); err != nil {
		t.Fatal(err)
	}
	hanging := a.start(tasksWriter(), "replication.run", `[2]`)
	waitRunning(t, a, 2)
	a.wantFailed(a.start(tasksWriter(), "replication.run", `[2]`), "[EFAULT] Task is already running", "CallError", "14", `null`)
	if err := a.jobs.Abort(hanging); err != nil {
		t.Fatal(err)
	}
	aborted := a.ended(hanging)
	if at(t, aborted, "state") != `"ABORTED"` || at(t, aborted, "exc_info") == "null" {
		t.Errorf("decisions 30 item 13: %s", aborted)
	}

	a.must(tasksWriter(), "replication.create", createPush(`"name": "held", "ssh_credentials": 2`))
	if err := a.store.DeleteCredential(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	a.wantFailed(a.start(tasksWriter(), "replication.run", `[3]`), "[EFAULT] Task is on hold", "CallError", "14", `null`)
	entry = a.must(tasksReader(), "replication.get_instance", `[3]`)
	wantKeys(t, "3.7: HOLD", at(t, entry, "state"), "datetime", "reason", "state")
	wantJSON(t, "5.6", `"Credential does not exist."`, at(t, entry, "state.reason"))
	wantJSON(t, "3.7: job while HOLD", `null`, at(t, entry, "job"))
	wantJSON(t, "3.2: a connection that is gone", `null`, at(t, entry, "ssh_credentials"))
	if at(t, entry, "state.datetime") == "null" {
		t.Error("3.7: HOLD without a time")
	}
}

// waitRunning waits for the first progress of a task.
func waitRunning(t *testing.T, a *api, task int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		for _, e := range a.events.take() {
			if e.ID == task && e.Fields != nil && strings.Contains(fieldsOf(t, e), `"progress":{"bytes`) {
				return
			}
		}
		if ctx.Err() != nil {
			t.Fatal("nothing moves")
		}
		a.events.wait(ctx)
	}
}

// TestDeleteAborts holds decisions 19: delete of a running task aborts its job.
func TestDeleteAborts(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.series()
	a.do("zfs create tank/data")
	if err := a.here.Write("tank/data", 4<<20); err != nil {
		t.Fatal(err)
	}
	a.do("zfs snapshot tank/data@one")
	if err := a.here.SetSwitches(fakezfs.Switches{Hang: map[string]int64{"send": 1 << 20}}); err != nil {
		t.Fatal(err)
	}
	a.must(tasksWriter(), "replication.create", definition(""))
	job := a.start(tasksWriter(), "replication.run", `[1]`)
	waitRunning(t, a, 1)
	a.want(tasksWriter(), "replication.delete", `[1]`, `true`)
	if got := at(t, a.ended(job), "state"); got != `"ABORTED"` {
		t.Errorf("decisions 19: job %s", got)
	}
	if events := a.events.take(); len(events) == 0 || events[len(events)-1].Msg != "removed" {
		t.Errorf("told after removed: %+v", events)
	}
}

// TestJobWithBadArguments holds 1.4 and section 10 item 35: arguments that do not fit give an id, and then a FAILED job.
func TestJobWithBadArguments(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.series()
	const integer = "Input should be a valid integer"
	tests := []struct {
		name, method, params, text, extra string
	}{
		{"a text for an id", "replication.run", `["seven"]`, "[EINVAL] id: " + integer + "\n", `[["id", "` + integer + `", 22]]`},
		{"no id", "replication.run", `[]`, "[EINVAL] id: Field required\n", `[["id", "Field required", 22]]`},
		{"too many", "replication.run", `[1, {}, 2]`, "[EINVAL] : Too many arguments (expected 2, found 3)\n", `[["", "Too many arguments (expected 2, found 3)", 22]]`},
		{
			"a private option", "replication.run", `[null, {"really_run": false, "x": 1}]`,
			"[EINVAL] id: " + integer + "\n[EINVAL] options.really_run: Extra inputs are not permitted\n[EINVAL] options.x: Extra inputs are not permitted\n",
			`[["id", "` + integer + `", 22], ["options.really_run", "Extra inputs are not permitted", 22], ["options.x", "Extra inputs are not permitted", 22]]`,
		},
		{
			"fields of a task only", "replication.run_onetime", onetime(`"name": "x", "enabled": true`),
			"[EINVAL] replication_run_onetime.enabled: Extra inputs are not permitted\n[EINVAL] replication_run_onetime.name: Extra inputs are not permitted\n",
			`[["replication_run_onetime.enabled", "Extra inputs are not permitted", 22], ["replication_run_onetime.name", "Extra inputs are not permitted", 22]]`,
		},
		{
			"a rule of 3.3", "replication.run_onetime", onetime(`"transport": "SSH"`),
			"[EINVAL] replication_run_onetime.ssh_credentials: SSH Credentials are required for non-local replication\n",
			`[["replication_run_onetime.ssh_credentials", "SSH Credentials are required for non-local replication", 22]]`,
		},
		{
			"decisions 30 item 11", "replication.run_onetime", onetime(`"direction": "PULL"`),
			"[EINVAL] replication_run_onetime.direction: You don't have permissions to use PULL replication\n",
			`[["replication_run_onetime.direction", "You don't have permissions to use PULL replication", 22]]`,
		},
	}
	for _, tt := range tests {
		t.Run("1.4: "+tt.name, func(t *testing.T) {
			job := a.start(tasksWriter(), tt.method, tt.params)
			a.wantFailed(job, tt.text, "VALIDATION", "null", tt.extra)
			wantJSON(t, "1.4: arguments as they were sent", tt.params, at(t, a.ended(job), "arguments"))
		})
	}
}

// TestRunOnetime holds 3.6, and who may pull in it (decisions 30 item 11).
func TestRunOnetime(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.series()
	a.do("zfs create tank/data")
	a.do("zfs snapshot tank/data@one")
	job := a.start(tasksWriter(), "replication.run_onetime", onetime(""))
	if got := a.ended(job); at(t, got, "state") != `"SUCCESS"` || at(t, got, "result") != "null" {
		t.Errorf("3.6: job %s", got)
	}
	if j, err := a.jobs.Get(job); err != nil || len(j.ReadRoles) != 0 || j.Key != "" {
		t.Errorf("3.1: own jobs only: %+v, %v", j, err)
	}
	for _, who := range []rpc.Caller{tasksPuller(), admin()} {
		if got := a.ended(a.start(who, "replication.run_onetime", onetime(`"direction": "PULL"`))); at(t, got, "state") != `"SUCCESS"` {
			t.Errorf("a pull by %+v: %s", who, got)
		}
	}
	a.wantEvents()
	a.want(admin(), "replication.query", `[]`, `[]`)
}

// TestSecretsInArguments holds 2.4: nothing secret in the arguments of a job, wherever it stands and of whatever type it is;
// what clients sent stays otherwise as it is.
func TestSecretsInArguments(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.series()
	for params, want := range map[string]string{
		onetime(`"encryption_key": "correct horse"`): onetime(`"encryption_key": "********"`),
		`[{"encryption_key": ["correct horse"], "private_key": {"x": "correct horse"}}, {"deep": [{"password": "correct horse", "token": null}]}]`: `[{"encryption_key": "********", "private_key": "********"}, {"deep": [{"password": "********", "token": null}]}]`,
		`[{"private_key": 7, "retries": 12345678901234567890}]`: `[{"private_key": 7, "retries": 12345678901234567890}]`,
		`{"encryption_key": "correct horse"}`:                   `{"encryption_key": "********"}`,
		`nonsense`:                                              `[]`,
		``:                                                      `[]`,
	} {
		job := a.ended(a.start(tasksWriter(), "replication.run_onetime", params))
		wantJSON(t, "2.4: arguments", want, at(t, job, "arguments"))
		if strings.Contains(job, "correct horse") {
			t.Errorf("2.4: the secret is in the job: %s", job)
		}
	}
}

// TestNoNewRuns holds why no job is made: nobody has said which ids to use, or the program is about to end.
func TestNoNewRuns(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.fails(admin(), "replication.run", `[1]`, rpc.EBUSY, "[EBUSY] no new run: job ids are not known yet")
	a.series()
	a.jobs.Drain(t.Context(), nil)
	a.fails(admin(), "replication.run", `[1]`, rpc.EBUSY, "[EBUSY] no new run: no new jobs: the program is about to end")
	a.jobs.Close()
	a.fails(admin(), "replication.run_onetime", onetime(""), rpc.EBUSY, "[EBUSY] no new run: job manager is closed")
}

// TestAgain holds the job that takes up an interrupted run: of the program's own, and known as a restart.
func TestAgain(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.series()
	a.do("zfs create tank/data")
	a.do("zfs snapshot tank/data@one")
	a.must(tasksWriter(), "replication.create", definition(""))
	if err := a.runs.Again(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	job := a.ended(1)
	for path, want := range map[string]string{"state": `"SUCCESS"`, "method": `"replication.run"`, "arguments": `[1]`, "credentials": "null", "message_ids": "[]", "abortable": "true"} {
		wantJSON(t, path, want, at(t, job, path))
	}
	j, err := a.jobs.Get(1)
	if err != nil || !j.Restart || j.Key != "replication:1" || j.Owner != "" || !slices.Equal(j.ReadRoles, []string{tasksRead}) {
		t.Errorf("job %+v, %v", j, err)
	}
	runs, err := a.store.Runs(t.Context(), 1, 0)
	if err != nil || len(runs) != 1 || !runs[0].Restart {
		t.Errorf("history %+v, %v", runs, err)
	}
	// The same for a task that is gone: the job says so.
	if err := a.runs.Again(t.Context(), 9); err != nil {
		t.Fatal(err)
	}
	a.wantFailed(2, "[ENOENT] None: Replication 9 does not exist\n", "VALIDATION", "2", `[[null, "Replication 9 does not exist", 2]]`)
}

// TestStoreErrors holds that a full disk is named as such, and that what else goes wrong in the state is -32001.
func TestStoreErrors(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	_, err := a.store.AddCredential(t.Context(), store.Credential{Name: "torn", Type: "SSH_KEY_PAIR", Attributes: []byte(`[]`)})
	if err != nil {
		t.Fatal(err)
	}
	a.fails(admin(), "keychaincredential.query", `[]`, rpc.EINVAL, "credential 1: what is kept of it cannot be read")
	a.fails(admin(), "keychaincredential.get_instance", `[1]`, rpc.EINVAL, "credential 1: what is kept of it cannot be read")
}
