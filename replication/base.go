package replication

import (
	"fmt"
	"strings"

	"github.com/zferry/zferry/zfs"
)

// base finds the newest snapshot of the target that the source still has, as a snapshot or a bookmark, by GUID, and what
// the source has after it. base is zero where the target has only the partial state of its first receive. ok is false if
// the dataset was refused.
func (p *planner) base(d, there zfs.Dataset) (base zfs.Snapshot, pending []zfs.Snapshot, ok bool) {
	snaps, mine := p.source.snapshots[d.Name], p.target.snapshots[there.Name]
	if len(mine) == 0 {
		if there.Inconsistent || p.hasToken(there.Name) {
			return base, snaps, true
		}
		p.bad.add(d.Name, fmt.Sprintf("Target dataset '%s' does not have matching snapshots but has data (%d bytes used) and replication from scratch is not allowed. Refusing to overwrite existing data. Choose a target that does not exist yet.", there.Name, there.Used))
		return base, nil, false
	}
	base, at := p.newestCommon(d.Name, mine)
	if at < 0 {
		p.bad.add(d.Name, fmt.Sprintf("No incremental base on dataset '%s' and replication from scratch is not allowed. Target '%s' has %d snapshots, none of which is one of the source's (by GUID). Choose a target that does not exist yet.", d.Name, there.Name, len(mine)))
		return base, nil, false
	}
	if newer := mine[at+1:]; len(newer) > 0 {
		p.bad.add(d.Name, fmt.Sprintf("Target '%s' has snapshots that the source does not have, newer than the last common one '%s': %s. Nothing was changed. To go on, keep what they hold elsewhere and destroy them, or choose another target.", there.Name, mine[at].Name, names(newer)))
		return base, nil, false
	}
	for _, s := range snaps {
		if s.CreateTXG > base.CreateTXG {
			pending = append(pending, s)
		}
	}
	return base, pending, p.fits(d, there, mine, pending)
}

func (p *planner) hasToken(dataset string) bool {
	_, ok := p.target.tokens[dataset]
	return ok
}

// newestCommon gives the source's snapshot, or else bookmark, for the newest of mine that the source has, and its place in
// mine; -1 if there is none.
func (p *planner) newestCommon(source string, mine []zfs.Snapshot) (zfs.Snapshot, int) {
	known := make(map[uint64]zfs.Snapshot)
	for _, b := range p.source.bookmarks[source] {
		known[b.GUID] = b
	}
	for _, s := range p.source.snapshots[source] {
		known[s.GUID] = s
	}
	for i := len(mine) - 1; i >= 0; i-- {
		if s, ok := known[mine[i].GUID]; ok {
			return s, i
		}
	}
	return zfs.Snapshot{}, -1
}

// fits checks what can be known of a receive that would be refused later, with part of the tree already sent.
func (p *planner) fits(d, there zfs.Dataset, mine, pending []zfs.Snapshot) bool {
	if len(pending) == 0 {
		return true
	}
	if d.Encrypted() && !there.Encrypted() {
		p.bad.add(d.Name, fmt.Sprintf("Unable to send encrypted dataset '%s' to existing unencrypted or unrelated dataset '%s'.", d.Name, there.Name))
		return false
	}
	taken := make(map[string]bool, len(mine))
	for _, s := range mine {
		taken[s.Name] = true
	}
	var clash []zfs.Snapshot
	for _, s := range pending {
		if taken[s.Name] {
			clash = append(clash, s)
		}
	}
	if len(clash) > 0 {
		p.bad.add(d.Name, fmt.Sprintf("Target '%s' already has other snapshots of the same name (another GUID): %s. Rename them on either side.", there.Name, names(clash)))
		return false
	}
	return true
}

// names lists the short names of snapshots, the first few of many.
func names(list []zfs.Snapshot) string {
	const most = 5
	var out []string
	for i, s := range list {
		if i == most {
			out = append(out, fmt.Sprintf("and %d more", len(list)-most))
			break
		}
		out = append(out, "'"+s.Name+"'")
	}
	return strings.Join(out, ", ")
}

// chain is the fewest streams that carry pending onto base: with -I over the unbroken run, after an -i from a bookmark or
// a full stream of the first snapshot where there is no base.
func chain(d zfs.Dataset, base zfs.Snapshot, pending []zfs.Snapshot) []Step {
	var steps []Step
	if base.GUID == 0 || base.Bookmark {
		first := pending[0]
		kind, from := Full, ""
		if base.Bookmark {
			kind, from = Incremental, "#"+base.Name
		}
		steps = append(steps, newStep(kind, d, from, first, 1))
		base, pending = first, pending[1:]
	}
	if len(pending) > 0 {
		steps = append(steps, newStep(Incremental, d, "@"+base.Name, pending[len(pending)-1], len(pending)))
	}
	return steps
}

func newStep(kind Kind, d zfs.Dataset, from string, to zfs.Snapshot, snapshots int) Step {
	return Step{
		Kind: kind,
		Send: zfs.Send{
			Snapshot:      to.String(),
			From:          from,
			Intermediates: snapshots > 1,
			Raw:           d.Encrypted(),
			LargeBlocks:   true,
			Compressed:    true,
		},
		Snapshots: snapshots,
		Bytes:     -1,
	}
}
