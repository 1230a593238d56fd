package methods_test

import (
	"testing"

	"github.com/zferry/zferry/rpc"
)

// TestRunByVersion_3_9 is what replication.run takes and does in each version of the API.
func TestRunByVersion_3_9(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.series()
	a.do("zfs create tank/data")
	a.do("zfs snapshot tank/data@one")
	a.must(tasksWriter(), "replication.create", definition(""))
	a.must(tasksWriter(), "replication.create", definition(`"name": "idle", "enabled": false, "target_dataset": "vault/idle"`))
	speaking := func(api string) rpc.Caller {
		who := tasksWriter()
		who.API = api
		return who
	}
	succeeds := func(api, params, arguments string) {
		t.Helper()
		job := a.ended(a.start(speaking(api), "replication.run", params))
		wantJSON(t, api+": state of "+params, `"SUCCESS"`, at(t, job, "state"))
		wantJSON(t, api+": arguments of "+params, arguments, at(t, job, "arguments"))
	}
	const extra = "Extra inputs are not permitted"
	old, recent := []string{"v24.10", "v25.04.0", "v25.10.2", "v25.10.5"}, []string{"v26.0.0", "v27.0.0", "current", ""}
	for _, api := range old {
		succeeds(api, `[1, true]`, `[1, {"really_run": true}]`)
		succeeds(api, `[1]`, `[1]`)
		a.refuses(speaking(api), "replication.run", `[1, false]`, invalid("really_run", extra))
		a.refuses(speaking(api), "replication.run", `[1, {}]`, invalid("really_run", "Input should be a valid boolean"))
		a.refuses(speaking(api), "replication.run", `[1, true, 3]`, invalid("", "Too many arguments (expected 2, found 3)"))
		// What the conversion does not look at is checked in the job, as ever (1.4).
		a.wantFailed(a.start(speaking(api), "replication.run", `["1", true]`), "[EINVAL] id: Input should be a valid integer\n", "VALIDATION", "null",
			`[["id", "Input should be a valid integer", 22]]`)
	}
	for _, api := range recent {
		succeeds(api, `[1, {}]`, `[1, {}]`)
		succeeds(api, `[1, {"really_run": true}]`, `[1, {"really_run": true}]`)
		a.wantFailed(a.start(speaking(api), "replication.run", `[1, true]`), "[EINVAL] options: Input should be a valid dictionary\n", "VALIDATION", "null",
			`[["options", "Input should be a valid dictionary", 22]]`)
	}
	for api, refused := range map[string]bool{"v25.10.0": true, "v26.0.0": true, "v27.0.0": false, "current": false, "": false} {
		if !refused {
			succeeds(api, `[2]`, `[2]`)
			continue
		}
		a.wantFailed(a.start(speaking(api), "replication.run", `[2]`), "[EFAULT] Task is not enabled", "CallError", "14", `null`)
		a.wantFailed(a.start(speaking(api), "replication.run", `[9]`), "[ENOENT] None: Replication 9 does not exist\n", "VALIDATION", "2",
			`[[null, "Replication 9 does not exist", 2]]`)
	}
}
