package tasks_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/zferry/zferry/faults"
	"github.com/zferry/zferry/jobs"
	"github.com/zferry/zferry/tasks"
)

// oneTime is a run that nothing is wrong with.
func oneTime(source, target string) tasks.Definition {
	d := local("", source, target)
	d.ExcludeMountpoint = true
	return d
}

// TestRunOnce holds 3.6: it replicates, and leaves no task, state, event or history.
func TestRunOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.filled("tank/data", mib, "one", "two")
	// A task of the name that the run gets does not matter: it is not kept.
	w.make(local("Temporary replication task for job 1", "tank/data", "vault/other"))
	before, _ := w.told.list()
	job := w.succeed(w.once(oneTime("tank/data", "vault/copy")))
	if job.ID != 1 || string(job.Result) != "null" || *job.Progress.Percent != 100 {
		t.Errorf("job %+v", job)
	}
	if got := snapshots(t, w.here, "vault/copy"); got != "one two" {
		t.Errorf("arrived %q", got)
	}
	if log := w.log(job); !strings.Contains(log, "planned") {
		t.Errorf("log:\n%s", log)
	}
	after, _ := w.told.list()
	list, err := w.List(t.Context())
	if err != nil || len(list) != 1 || len(after) != len(before) || len(w.runs(0)) != 0 {
		t.Errorf("it left tasks %+v, events %+v, history %+v", list, after[len(before):], w.runs(0))
	}

	// Twice at once into the same target: the second is refused in plain words, the first goes on.
	w.filled("tank/big", 8*mib, "one")
	w.hang(4 * mib)
	slow := w.once(oneTime("tank/big", "vault/big"))
	w.sends(slow, 3*mib)
	other := w.wait(w.once(oneTime("tank/big", "vault/big")))
	if other.State != jobs.Failed || !strings.Contains(other.Failure.Error, "A replication into 'vault/big'") || !strings.Contains(other.Failure.Error, "is already running") {
		t.Errorf("job %s, %+v", other.State, other.Failure)
	}
	if err := w.jobs.Abort(slow.ID); err != nil {
		t.Fatal(err)
	}
	w.fail(slow, jobs.Aborted, "job aborted")
	if token(w.here, "vault/big") == "" {
		t.Error("the target kept no token")
	}
}

// TestRunOnceRules holds that the rules of 3.3 are asked inside the job, with all faults at once.
func TestRunOnceRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.filled("tank/data", mib, "one")
	const unsupported = "This version of zferry does not support this: "
	tests := []struct {
		name   string
		change func(d *tasks.Definition)
		want   faults.List
	}{
		{"decisions 16", func(d *tasks.Definition) { d.Target = "tank/data/copy" }, faults.List{
			{Field: "target_dataset", Text: "Target 'tank/data/copy' and source 'tank/data' are the same dataset or one lies inside the other. Choose a target outside the source"},
		}},
		{"decisions 30 item 11", func(d *tasks.Definition) { d.Direction, d.NoPull = tasks.Pull, true }, faults.List{
			{Field: "direction", Text: "You don't have permissions to use PULL replication"},
		}},
		{"rule 21", func(d *tasks.Definition) { d.Transport, d.SSHCredentials = tasks.SSH, ptr[int64](9) }, faults.List{
			{Field: "ssh_credentials", Text: "[ENOENT] Credential does not exist"},
		}},
		{"fields of one-time runs", func(d *tasks.Definition) {
			d.ExcludeMountpoint, d.OnlyFromScratch, d.MountAfterwards = false, true, true
		}, faults.List{
			{Field: "only_from_scratch", Text: unsupported + "set it to false"},
			{Field: "exclude_mountpoint_property", Text: unsupported + "leave it out; no mountpoint is replicated"},
			{Field: "mount", Text: unsupported + "set it to false"},
		}},
		{"bound tasks (3.6)", func(d *tasks.Definition) { d.SnapshotTasks = []int64{1} }, faults.List{
			{Field: "periodic_snapshot_tasks.0", Text: "This snapshot task does not exist"},
			{Field: "name_regex", Text: "Naming regex can't be used with periodic snapshot tasks"},
			{Field: "periodic_snapshot_tasks", Text: unsupported + `leave it out and give name_regex ".*"`},
		}},
	}
	for _, tt := range tests {
		t.Run("3.6: "+tt.name, func(t *testing.T) {
			d := oneTime("tank/data", "vault/copy")
			tt.change(&d)
			w.fail(w.once(d), jobs.Failed, tt.want.Error())
		})
	}
	if out, err := w.here.Do("zfs list -H -o name vault/copy"); err == nil {
		t.Errorf("something was made: %s", out)
	}
}

// sends waits until a job has sent so much.
func (w *world) sends(job jobs.Job, bytes int64) {
	w.t.Helper()
	w.shown.await(w.t, "bytes sent", func(j jobs.Job) bool {
		var extra tasks.Extra
		return j.ID == job.ID && json.Unmarshal(j.Progress.Extra, &extra) == nil && extra.BytesSent >= bytes
	})
}
