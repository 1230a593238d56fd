package host

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// states gives the state of each job that core.get_jobs shows.
func (c *testClient) states() map[int64]string {
	c.t.Helper()
	var jobs []wireJob
	c.must("core.get_jobs", &jobs)
	all := make(map[int64]string)
	for _, j := range jobs {
		all[j.ID] = j.State
	}
	return all
}

// TestHistory is core.get_jobs right after a start (truenas-api.md 2.4, decision 5): before the plugin is there the host tells what it
// knew, afterwards what the plugin says.
func TestHistory_2_4(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	key, dir := h.adminKey(), h.dir
	c := h.login(key)
	failed := "[EFAULT] no room"
	p.tell(1, "SUCCESS", "result", map[string]any{"private_key": "first secret", "name": "x"}, "message_ids", []any{"a", 7})
	p.tell(17, "FAILED", "error", &failed, "exc_info", map[string]any{"repr": "x", "type": "CallError", "errno": 14, "extra": nil})
	p.tell(33, "RUNNING", "progress", progress(40))
	p.tell(49, "RUNNING")
	p.tell(65, "SUCCESS", "transient", true)
	p.tell(81, "WAITING")
	all := map[int64]string{1: "SUCCESS", 17: "FAILED", 33: "RUNNING", 49: "RUNNING", 81: "WAITING"}
	eventually(t, "all jobs", func() bool { return cmp.Equal(all, c.states()) })
	var before, after []json.RawMessage
	c.must("core.get_jobs", &before)
	var own int64
	c.must("core.job_wait", &own, 49) // has not ended when the host does
	all[own] = "FAILED"
	h.stop(nil)

	h = serveIn(t, dir)
	c = h.login(key)
	if diff := cmp.Diff(all, c.states()); diff != "" {
		t.Errorf("without the plugin (-want +got):\n%s", diff)
	}
	c.must("core.get_jobs", &after, []any{[]any{"id", "!=", own}})
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("jobs after the restart (-want +got):\n%s", diff)
	}
	var lost wireJob
	c.must("core.get_jobs", &lost, []any{[]any{"id", "=", own}}, map[string]any{"get": true})
	if lost.Error == nil || *lost.Error != "[EFAULT] The server ended before the job did" || isNull(lost.TimeFinished) {
		t.Errorf("the host's own job that was cut off: %+v", lost)
	}
	c.fails(-32001, 11, "[EAGAIN] the plugin zferry is not connected", "core.job_abort", 33)
	// What others may see is the same too.
	if got := h.login(h.userKey("bob", "SNAPSHOT_READ")).states(); len(got) != 0 {
		t.Errorf("somebody sees jobs of others: %v", got)
	}

	// The plugin's word counts, also where it is an older one: it may have been set up anew.
	delete(p.jobs, 17)
	p.set(33, "SUCCESS")
	p.set(1, "RUNNING", "rev", 1)
	p.join(h, with(usual(), "token", h.NewToken()))
	p.tell(97, "RUNNING")
	delete(all, 17)
	all[33], all[1], all[97] = "SUCCESS", "RUNNING", "RUNNING"
	eventually(t, "what the plugin says", func() bool { return cmp.Equal(all, c.states()) })
	h.stop(nil)

	h = serveIn(t, dir)
	if diff := cmp.Diff(all, h.login(key).states()); diff != "" {
		t.Errorf("after another restart (-want +got):\n%s", diff)
	}
	h.stop(nil)
	for _, name := range []string{"host.db", "host.db-wal"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil && strings.Contains(string(data), "first secret") {
			t.Errorf("%s holds the secret of a result", name)
		}
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has the mode %v", name, info.Mode())
		}
	}
}

// TestHistoryLength: of each series the 1,000 jobs that finished last are kept, whatever does not fit on disk.
func TestHistoryLength_2_4(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	key, dir := h.adminKey(), h.dir
	const more = 20
	last := int64(1 + jobStep*(keepJobs+more-1))
	for id := int64(1); id <= last; id += jobStep {
		p.tell(id, "SUCCESS")
	}
	table := h.plugins.named("zferry").jobs
	eventually(t, "the last job", func() bool { _, ok := table.get(last); return ok })
	h.stop(nil)
	h = serveIn(t, dir)
	got := h.login(key).states()
	if _, oldest := got[1+jobStep*more]; len(got) != keepJobs || !oldest {
		t.Errorf("%d jobs, the oldest of those that are to be kept is there: %v", len(got), oldest)
	}
}

// TestRawResult: secrets in results are shown to those who ask for them by name (truenas-api.md 2.6).
func TestRawResult_2_6(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	c := h.login(h.adminKey())
	c.subscribe(jobsCollection)
	p.tell(1, "SUCCESS", "result", []any{map[string]any{"private_key": "one", "n": 5, "deep": map[string]any{"token": "two", "password": nil}}})
	if e := c.event(); !strings.Contains(string(e.Fields), "one") || !strings.Contains(string(e.Fields), "two") {
		t.Errorf("event %s", e.Fields)
	}
	for extra, want := range map[string]string{
		`{}`:                      `[{"deep":{"password":null,"token":"********"},"n":5,"private_key":"********"}]`,
		`{"raw_result":false}`:    `[{"deep":{"password":null,"token":"********"},"n":5,"private_key":"********"}]`,
		`{"raw_result":"please"}`: `[{"deep":{"password":null,"token":"********"},"n":5,"private_key":"********"}]`,
		`{"raw_result":true}`:     `[{"deep":{"password":null,"token":"two"},"n":5,"private_key":"one"}]`,
	} {
		var job struct{ Result json.RawMessage }
		c.must("core.get_jobs", &job, []any{}, map[string]any{"get": true, "extra": json.RawMessage(extra)})
		var v any
		if err := json.Unmarshal(job.Result, &v); err != nil {
			t.Fatal(err)
		}
		if got := string(mustJSON(v)); got != want {
			t.Errorf("extra %s: result %s, want %s", extra, got, want)
		}
	}
}

func TestRedactCall(t *testing.T) {
	for _, tt := range []struct{ method, args, want string }{
		{"x.y", ``, `[]`},
		{"x.y", `[1,{"name":"a","private_key":2,"nested":[{"user_password":"p"}]}]`, `[1,{"name":"a","nested":[{"user_password":"********"}],"private_key":2}]`},
		{"x.y", `[18446744073709551615,{"encryption_key":{"a":1}}]`, `[18446744073709551615,{"encryption_key":"********"}]`},
		{"auth.login", `["ann","secret"]`, `["********","********"]`},
		{"auth.login_ex", `{"a":1}`, `{"a":1}`},
		{"x.y", `nonsense`, `null`},
	} {
		if got := string(redactCall(tt.method, json.RawMessage(tt.args))); got != tt.want {
			t.Errorf("%s %s: %s, want %s", tt.method, tt.args, got, tt.want)
		}
	}
}

// TestHistoryOnFullDisk: what cannot be written is told in the log and tried again, and newer states win.
func TestHistoryOnFullDisk(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := h.plugin()
	kept := h.plugins.history
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	p.tell(1, "RUNNING")
	eventually(t, "the job", func() bool { _, ok := h.plugins.named("zferry").jobs.get(1); return ok })
	e, _ := h.plugins.named("zferry").jobs.get(1)
	kept.note(e, true)
	kept.forget(33)
	kept.flush(ended)
	if !strings.Contains(h.logs.String(), "the history of jobs could not be written") {
		t.Error("the log does not say so")
	}
	kept.flush(t.Context())
	stored, err := h.store.Jobs(t.Context())
	if err != nil || len(stored) != 1 || stored[0].ID != 1 {
		t.Errorf("kept: %v, %v", stored, err)
	}
	if len(stored) == 1 && !strings.Contains(string(stored[0].Data), fmt.Sprintf(`"state":%q`, stateRunning)) {
		t.Errorf("kept: %s", stored[0].Data)
	}
}
