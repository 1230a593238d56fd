package fakezfs

import (
	"fmt"
	"slices"
	"strings"
)

func (c *call) destroy(args []string) error {
	f, rest, err := parse("destroy", args, "rRfnpvd", "")
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return usage("destroy", "missing dataset argument")
	}
	name := rest[0]
	fn := func(st *state) error {
		switch {
		case strings.Contains(name, "@"):
			return c.destroySnapshots(st, name, f)
		case strings.Contains(name, "#"):
			return c.destroyBookmark(st, name)
		}
		return c.destroyDataset(st, name, f)
	}
	if f.has('n') {
		return c.keep.view(fn)
	}
	return c.keep.update(fn)
}

// destroySnapshots destroys all snapshots of a list or range, or none.
func (c *call) destroySnapshots(st *state, arg string, f flags) error {
	name, list, _ := strings.Cut(arg, "@")
	if st.Datasets[name] == nil {
		return notExist(name)
	}
	depth := 0
	if f.has('r') || f.has('R') {
		depth = -1
	}
	var names []string
	for _, n := range st.subtree(name, depth) {
		names = append(names, st.Datasets[n].match(list)...)
	}
	if len(names) == 0 {
		return fail("could not find any snapshots to destroy; check snapshot names.")
	}
	if f.has('v') {
		c.sayDestroy(names, f)
	}
	if f.has('n') {
		return nil
	}
	if c.denied("destroy") {
		return fail("cannot destroy snapshots: permission denied")
	}
	for _, n := range names {
		if err := st.mayDestroy(n, f.has('R')); err != nil {
			return err
		}
	}
	for _, n := range names {
		for _, clone := range st.clones(n) {
			st.drop(clone)
		}
		d, s := st.lookup(n)
		d.Snapshots = slices.DeleteFunc(slices.Clone(d.Snapshots), func(o *snapshot) bool { return o == s })
		d.Changed = now()
	}
	st.tick(name)
	return nil
}

func (c *call) sayDestroy(names []string, f flags) {
	for _, n := range names {
		switch {
		case f.has('p'):
			_, _ = fmt.Fprintf(c.out, "destroy\t%s\n", n)
		case f.has('n'):
			_, _ = fmt.Fprintf(c.out, "would destroy %s\n", n)
		default:
			_, _ = fmt.Fprintf(c.out, "will destroy %s\n", n)
		}
	}
	switch {
	case f.has('p'):
		_, _ = fmt.Fprint(c.out, "reclaim\t0\n")
	case f.has('n'):
		_, _ = fmt.Fprint(c.out, "would reclaim 0B\n")
	default:
		_, _ = fmt.Fprint(c.out, "will reclaim 0B\n")
	}
}

// match finds the snapshots of a list such as a,b%d,%e that exist.
func (d *dataset) match(list string) []string {
	var names []string
	for part := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(part, "%")
		if !isRange {
			if d.snapshot(part) != nil {
				names = append(names, d.Name+"@"+part)
			}
			continue
		}
		in := first == ""
		for _, s := range d.Snapshots {
			in = in || s.Name == first
			if in {
				names = append(names, d.Name+"@"+s.Name)
			}
			if s.Name == last {
				break
			}
		}
	}
	return names
}

// mayDestroy checks one snapshot.
func (st *state) mayDestroy(full string, withClones bool) error {
	d, s := st.lookup(full)
	clones := st.clones(full)
	if p := d.Partial; p != nil && p.Begin.FromGUID == s.GUID {
		clones = append(clones, d.Name+"/%recv")
	}
	switch {
	case len(s.Holds) > 0:
		return fail("cannot destroy snapshot %s: it's being held. Run 'zfs holds -r %s' to see holders.", full, full)
	case len(clones) > 0 && !withClones:
		return fail("cannot destroy '%s': snapshot has dependent clones\nuse '-R' to destroy the following datasets:\n%s",
			full, strings.Join(clones, "\n"))
	case st.busy("send", full):
		return fail("cannot destroy snapshot %s: dataset is busy", full)
	}
	return nil
}

func (c *call) destroyBookmark(st *state, full string) error {
	d, err := st.open(full)
	if err != nil {
		return fail("bookmark '%s' does not exist.", full)
	}
	if c.denied("destroy") {
		return fail("cannot destroy bookmark '%s': permission denied", full)
	}
	_, name, _ := strings.Cut(full, "#")
	d.Bookmarks = slices.DeleteFunc(slices.Clone(d.Bookmarks), func(b *bookmark) bool { return b.Name == name })
	st.tick(d.Name)
	return nil
}

func (c *call) destroyDataset(st *state, name string, f flags) error {
	d, err := st.open(name)
	if err != nil {
		return err
	}
	if below := st.below(d); len(below) > 0 && !f.has('r') && !f.has('R') {
		return fail("cannot destroy '%s': %s has children\nuse '-r' to destroy the following datasets:\n%s",
			name, d.Type, strings.Join(below, "\n"))
	}
	if parentOf(name) == "" {
		return fail("cannot destroy '%s': operation does not apply to pools\nuse 'zfs destroy -r %s' to destroy all datasets in "+
			"the pool\nuse 'zpool destroy %s' to destroy the pool itself", name, name, name)
	}
	names := st.subtree(name, -1)
	if f.has('n') {
		if f.has('v') {
			c.sayDestroy(append(st.below(d), name), f)
		}
		return nil
	}
	for _, n := range names {
		if err := c.mayDestroyDataset(st, st.Datasets[n], name, f); err != nil {
			return err
		}
	}
	for _, n := range names {
		st.drop(n)
	}
	st.tick(name)
	return nil
}

func (c *call) mayDestroyDataset(st *state, d *dataset, root string, f flags) error {
	switch {
	case c.denied("destroy"):
		return fail("cannot destroy '%s': permission denied", d.Name)
	case st.busy("receive", d.Name):
		return fail("cannot destroy '%s': dataset is busy", d.Name)
	}
	for _, s := range d.Snapshots {
		full := d.Name + "@" + s.Name
		outside := slices.ContainsFunc(st.clones(full), func(n string) bool { return !within(n, root) })
		if err := st.mayDestroy(full, true); err != nil {
			return err
		}
		if outside && !f.has('R') {
			return st.mayDestroy(full, false)
		}
	}
	return nil
}

// below lists what goes with a dataset: children first, then its own snapshots.
func (st *state) below(d *dataset) []string {
	var names []string
	tree := st.subtree(d.Name, -1)
	for i := len(tree) - 1; i >= 0; i-- {
		for _, s := range st.Datasets[tree[i]].Snapshots {
			names = append(names, tree[i]+"@"+s.Name)
		}
		if tree[i] != d.Name {
			names = append(names, tree[i])
		}
	}
	return names
}

// drop removes a dataset and the clones of its snapshots.
func (st *state) drop(name string) {
	d := st.Datasets[name]
	if d == nil {
		return
	}
	delete(st.Datasets, name)
	for _, s := range d.Snapshots {
		for _, clone := range st.clones(name + "@" + s.Name) {
			st.drop(clone)
		}
	}
}
