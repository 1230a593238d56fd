package replication

import (
	"fmt"

	"github.com/zferry/zferry/zfs"
)

// resume plans to go on with an interrupted receive. The token comes from the receiving side, and a token can name any
// dataset in any form, so it is used only for the very stream that the plan would begin with; it reports false if the
// dataset was refused. A token that cannot be continued is discarded with a word.
func (p *planner) resume(d, there zfs.Dataset, dp *DatasetPlan, state TokenState, base zfs.Snapshot, pending []zfs.Snapshot) bool {
	if len(pending) == 0 {
		return true // nothing is needed, so nothing is in the way
	}
	if state.Err != nil {
		dp.discard("the interrupted receive cannot be resumed (the snapshot that it was receiving is gone from the source) and starts anew")
		return true
	}
	t := state.Token
	if dataset := datasetOf(t.ToName); dataset != d.Name {
		p.bad.add(d.Name, fmt.Sprintf("Target '%s' holds the unfinished receive of another dataset, '%s'. If it is of no use any more, discard it there: zfs receive -A %s", there.Name, t.ToName, there.Name))
		return false
	}
	if t.Raw != d.Encrypted() {
		p.bad.add(d.Name, fmt.Sprintf("Target '%s' holds an unfinished receive of '%s' in another form (%s) than this task sends (%s). If it is of no use any more, discard it there: zfs receive -A %s", there.Name, t.ToName, form(t.Raw), form(d.Encrypted()), there.Name))
		return false
	}
	if t.ToGUID != pending[0].GUID || t.FromGUID != base.GUID {
		dp.discard(fmt.Sprintf("the interrupted receive of '%s' is not the next stream that is needed, and is discarded", t.ToName))
		return true
	}
	if there.Written > 0 && len(p.target.snapshots[there.Name]) > 0 {
		dp.discard("the target was written to during the interrupted receive, which starts anew")
		return true
	}
	first := newStep(Resumed, d, "", pending[0], 1)
	first.Send.Token = there.ResumeToken
	first.Done = t.Bytes
	first.Bytes = t.Size
	dp.Steps = append([]Step{first}, rest(d, pending)...)
	return true
}

// rest is what follows the first of pending, which a resumed stream brings.
func rest(d zfs.Dataset, pending []zfs.Snapshot) []Step {
	if len(pending) == 1 {
		return nil
	}
	return chain(d, pending[0], pending[1:])
}

func (d *DatasetPlan) discard(why string) {
	d.Discard = true
	d.addNote(why)
}

func form(raw bool) string {
	if raw {
		return "raw"
	}
	return "not raw"
}

// datasetOf is the dataset of a full snapshot name.
func datasetOf(snapshot string) string {
	for i := range len(snapshot) {
		if snapshot[i] == '@' || snapshot[i] == '#' {
			return snapshot[:i]
		}
	}
	return snapshot
}
