package replication

import (
	"fmt"
	"slices"
	"strings"

	"github.com/zferry/zferry/zfs"
)

// Limits of ZFS on names, checked after mapping (decisions.md 20).
const (
	maxName  = 255 // bytes of a dataset's or snapshot's full name
	maxDepth = 50  // components of a dataset's name
)

// NewPlan compares what both sides hold and decides what is sent. It is pure: the same listings give the same plan. Sizes are
// unknown in it; Prepare fills them in. The error is a Refused with all reasons at once.
func NewPlan(task Task, source, target Listing) (*Plan, error) {
	p := &planner{task: task, plan: &Plan{Task: task}, target: index(target), source: index(source)}
	p.checkNesting()
	if len(p.bad) == 0 {
		p.parents(target)
		p.datasets(source.Datasets)
	}
	if len(p.bad) > 0 {
		return nil, p.bad
	}
	return p.plan, nil
}

type planner struct {
	task           Task
	plan           *Plan
	source, target indexed
	bad            Refused
	skipped        []string // source datasets that are left out, and with them what lies below
}

// indexed is a listing by dataset.
type indexed struct {
	datasets  map[string]zfs.Dataset
	snapshots map[string][]zfs.Snapshot // ordered by this side's own createtxg
	bookmarks map[string][]zfs.Snapshot // likewise
	tokens    map[string]TokenState
}

func index(l Listing) indexed {
	x := indexed{
		datasets:  make(map[string]zfs.Dataset, len(l.Datasets)),
		snapshots: make(map[string][]zfs.Snapshot, len(l.Datasets)),
		bookmarks: make(map[string][]zfs.Snapshot),
		tokens:    l.Tokens,
	}
	for _, d := range l.Datasets {
		x.datasets[d.Name] = d
	}
	for _, s := range l.Snapshots {
		into := x.snapshots
		if s.Bookmark {
			into = x.bookmarks
		}
		into[s.Dataset] = append(into[s.Dataset], s)
	}
	byTXG := func(a, b zfs.Snapshot) int {
		switch {
		case a.CreateTXG < b.CreateTXG:
			return -1
		case a.CreateTXG > b.CreateTXG:
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	}
	for _, m := range []map[string][]zfs.Snapshot{x.snapshots, x.bookmarks} {
		for _, list := range m {
			slices.SortStableFunc(list, byTXG)
		}
	}
	return x
}

// within tells whether dataset is root or lies below it.
func within(dataset, root string) bool {
	return dataset == root || strings.HasPrefix(dataset, root+"/")
}

// checkNesting refuses to replicate a tree into itself (decisions.md 16).
func (p *planner) checkNesting() {
	s, t := p.task.Source, p.task.Target
	if p.task.SameSystem && (within(s, t) || within(t, s)) {
		p.bad.add(s, fmt.Sprintf("Source '%s' and target '%s' are the same dataset or one lies inside the other. Choose a target outside the source.", s, t))
	}
}

// parents plans the creation of what is missing above the target, and notes how much room there is.
func (p *planner) parents(target Listing) {
	if root, ok := p.target.datasets[p.task.Target]; ok {
		p.plan.Available = root.Available
		return
	}
	if len(target.Ancestors) == 0 {
		pool, _, _ := strings.Cut(p.task.Target, "/")
		p.bad.add(p.task.Target, fmt.Sprintf("Pool '%s' does not exist on the target system.", pool))
		return
	}
	nearest := target.Ancestors[len(target.Ancestors)-1]
	p.plan.Available = nearest.Available
	if nearest.Type == zfs.Volume {
		p.bad.add(p.task.Target, fmt.Sprintf("Target '%s' would lie below '%s', which is a volume and cannot have children.", p.task.Target, nearest.Name))
		return
	}
	parts := strings.Split(p.task.Target, "/")
	for i := strings.Count(nearest.Name, "/") + 2; i < len(parts); i++ {
		p.plan.Create = append(p.plan.Create, strings.Join(parts[:i], "/"))
	}
}

// datasets plans every dataset of the source, parents first.
func (p *planner) datasets(list []zfs.Dataset) {
	any := false
	for _, d := range list {
		any = any || len(p.source.snapshots[d.Name]) > 0
	}
	if !any {
		p.bad.add(p.task.Source, fmt.Sprintf("Dataset '%s' does not have any matching snapshots to replicate. Take one first, for example: zfs snapshot %s%s@first", p.task.Source, map[bool]string{true: "-r ", false: ""}[p.task.Recursive], p.task.Source))
		return
	}
	for _, d := range list {
		target := p.task.Target + strings.TrimPrefix(d.Name, p.task.Source)
		dp := DatasetPlan{Source: d.Name, Target: target, Type: d.Type, Raw: d.Encrypted()}
		if note := p.leftOut(d); note != "" {
			dp.Note = note
			p.skipped = append(p.skipped, d.Name)
		} else {
			p.dataset(d, &dp)
		}
		p.plan.Datasets = append(p.plan.Datasets, dp)
	}
}

// leftOut says why a dataset of the source takes no part, or "".
func (p *planner) leftOut(d zfs.Dataset) string {
	for _, above := range p.skipped {
		if within(d.Name, above) {
			return fmt.Sprintf("left out, because '%s' above it is", above)
		}
	}
	switch {
	case d.Inconsistent:
		return "left out: it is itself the target of an unfinished receive"
	case len(p.source.snapshots[d.Name]) == 0:
		return "left out: it has no snapshots"
	}
	return ""
}

// dataset plans one dataset that has snapshots.
func (p *planner) dataset(d zfs.Dataset, dp *DatasetPlan) {
	snaps := p.source.snapshots[d.Name]
	if !p.namesFit(dp, snaps) {
		return
	}
	there, exists := p.target.datasets[dp.Target]
	if !exists {
		dp.Steps = chain(d, zfs.Snapshot{}, snaps)
		return
	}
	if there.Type != d.Type {
		p.bad.add(d.Name, fmt.Sprintf("Source '%s' is a %s, but target '%s' already exists and is a %s.", d.Name, d.Type, dp.Target, there.Type))
		return
	}
	base, pending, ok := p.base(d, there)
	if !ok {
		return
	}
	if state, ok := p.target.tokens[dp.Target]; ok && !p.resume(d, there, dp, state, base, pending) || len(dp.Steps) > 0 {
		return
	}
	if len(pending) == 0 {
		return
	}
	dp.Steps = chain(d, base, pending)
	p.undo(there, dp)
}

// undo plans to roll back what was written at the target after its newest snapshot (decisions.md 10, CHANGES): without
// that the receive would be refused.
func (p *planner) undo(there zfs.Dataset, dp *DatasetPlan) {
	mine := p.target.snapshots[there.Name]
	if there.Written == 0 || len(mine) == 0 {
		return
	}
	newest := mine[len(mine)-1]
	dp.Rollback, dp.Undone = newest.String(), there.Written
	dp.addNote(fmt.Sprintf("%d bytes written at the target after %s are rolled back", there.Written, newest))
}

func (d *DatasetPlan) addNote(note string) {
	if d.Note != "" {
		d.Note += "; "
	}
	d.Note += note
}

// namesFit checks the mapped names against the limits of ZFS before anything is sent (decisions.md 20).
func (p *planner) namesFit(dp *DatasetPlan, snaps []zfs.Snapshot) bool {
	if n := strings.Count(dp.Target, "/") + 1; n > maxDepth {
		p.bad.add(dp.Source, fmt.Sprintf("Target '%s' would be %d levels deep; ZFS allows %d.", dp.Target, n, maxDepth))
		return false
	}
	longest := ""
	for _, s := range snaps {
		if len(s.Name) > len(longest) {
			longest = s.Name
		}
	}
	if n := len(dp.Target) + 1 + len(longest); n > maxName {
		p.bad.add(dp.Source, fmt.Sprintf("Name '%s@%s' would be %d bytes long; ZFS allows %d. Choose a shorter target.", dp.Target, longest, n, maxName))
		return false
	}
	return true
}
