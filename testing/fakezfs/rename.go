package fakezfs

import (
	"slices"
	"strings"
)

func (c *call) rename(args []string) error {
	f, rest, err := parse("rename", args, "rpuf", "")
	if err != nil {
		return err
	}
	if len(rest) != 2 {
		return usage("rename", "missing source or target dataset argument")
	}
	from, to := rest[0], rest[1]
	return c.keep.update(func(st *state) error {
		d, err := st.open(from)
		switch {
		case err != nil:
			return err
		case c.denied("rename"):
			return fail("cannot rename '%s': permission denied", from)
		case strings.Contains(from, "@"):
			return st.renameSnapshots(d, from, to, f.has('r'))
		case strings.Contains(from, "#"):
			return fail("cannot rename '%s': operation not applicable to bookmarks", from)
		}
		return st.renameDataset(from, to, f)
	})
}

func (st *state) renameSnapshots(d *dataset, from, to string, recursive bool) error {
	_, old, _ := strings.Cut(from, "@")
	base, name, ok := strings.Cut(to, "@")
	if ok && base != "" && base != d.Name {
		return fail("cannot rename '%s': snapshots must be part of same dataset", from)
	}
	if !ok {
		name = to
	}
	depth := 0
	if recursive {
		depth = -1
	}
	var found []*dataset
	for _, n := range st.subtree(d.Name, depth) {
		o := st.Datasets[n]
		if o.snapshot(old) == nil {
			continue
		}
		if o.snapshot(name) != nil {
			return fail("cannot rename to '%s@%s': dataset already exists", n, name)
		}
		found = append(found, o)
	}
	for _, o := range found {
		o.snapshot(old).Name = name
		o.Changed = now()
		st.moveOrigin(o.Name+"@"+old, o.Name+"@"+name)
	}
	st.tick(d.Name)
	return nil
}

func (st *state) renameDataset(from, to string, f flags) error {
	parent := st.Datasets[parentOf(to)]
	fault := nameFault(to)
	switch {
	case fault != "" || strings.ContainsAny(to, "@#"):
		return fail("cannot rename to '%s': %s", to, cmpOr(fault, "snapshot delimiter '@' is not expected here"))
	case st.Datasets[to] != nil:
		return fail("cannot rename '%s': dataset already exists", from)
	case poolOf(from) != poolOf(to):
		return fail("cannot rename '%s': datasets must be within same pool", from)
	case within(to, from):
		return fail("cannot rename '%s': New dataset name cannot be a descendant of current dataset name", from)
	case parentOf(from) == "":
		return fail("cannot rename '%s': operation does not apply to pools", from)
	case parent == nil && !f.has('p'):
		return fail("cannot rename '%s': parent does not exist", from)
	}
	for _, n := range st.subtree(from, -1) {
		if st.busy("receive", n) {
			return fail("cannot rename '%s': dataset is busy", from)
		}
	}
	for _, n := range missingParents(st, to) {
		if err := st.make(n, "filesystem", nil, flags{}); err != nil {
			return err
		}
	}
	for _, n := range st.subtree(from, -1) {
		d := st.Datasets[n]
		delete(st.Datasets, n)
		d.Name = to + strings.TrimPrefix(n, from)
		st.Datasets[d.Name] = d
		for _, s := range d.Snapshots {
			st.moveOrigin(n+"@"+s.Name, d.Name+"@"+s.Name)
		}
	}
	for _, d := range st.Datasets {
		if d.Crypt != nil && within(d.Crypt.Root, from) {
			d.Crypt.Root = to + strings.TrimPrefix(d.Crypt.Root, from)
		}
	}
	st.tick(to)
	return nil
}

// moveOrigin tells clones the new name of their origin.
func (st *state) moveOrigin(from, to string) {
	for _, d := range st.Datasets {
		if d.Origin == from {
			d.Origin = to
		}
	}
}

func (c *call) clone(args []string) error {
	f, rest, err := parse("clone", args, "pu", "o")
	if err != nil {
		return err
	}
	props, err := pairs("clone", f.values['o'])
	if err != nil {
		return err
	}
	if len(rest) != 2 {
		return usage("clone", "missing target dataset argument")
	}
	from, to := rest[0], rest[1]
	return c.keep.update(func(st *state) error {
		d, err := st.open(from)
		if err != nil {
			return err
		}
		_, s := st.lookup(from)
		switch {
		case s == nil:
			return fail("cannot create '%s': '%s' is not a snapshot", to, from)
		case poolOf(from) != poolOf(to):
			return fail("cannot create '%s': source and target pools differ", to)
		case c.denied("clone"):
			return fail("cannot create '%s': permission denied", to)
		}
		if err := c.mayCreate(st, to, f, props); err != nil || st.Datasets[to] != nil {
			return err
		}
		for _, n := range missingParents(st, to) {
			if err := st.make(n, "filesystem", nil, flags{}); err != nil {
				return err
			}
		}
		made := &dataset{Name: to, Type: d.Type, GUID: newGUID(), Creation: now(), Props: props, Origin: from}
		made.Data = d.dataAt(s.TXG)
		if d.Crypt != nil {
			k := *d.Crypt
			k.Loaded = false
			made.Crypt = &k
		}
		if size := d.Props["volsize"]; size != "" {
			made.Props = with(made.Props, "volsize", size)
		}
		st.Datasets[to] = made
		made.TXG = st.tick(to)
		made.Mounted = st.mountable(made) && !f.has('u')
		return nil
	})
}

// promote makes a clone the owner of the snapshots up to its origin.
func (c *call) promote(args []string) error {
	if len(args) != 1 {
		return usage("promote", "missing clone filesystem argument")
	}
	return c.keep.update(func(st *state) error {
		d, err := st.open(args[0])
		if err != nil {
			return err
		}
		o, s := st.lookup(d.Origin)
		switch {
		case s == nil:
			return fail("cannot promote '%s': not a cloned filesystem", d.Name)
		case c.denied("promote"):
			return fail("cannot promote '%s': permission denied", d.Name)
		}
		i := slices.Index(o.Snapshots, s) + 1
		for _, moved := range o.Snapshots[:i] {
			if d.snapshot(moved.Name) != nil {
				return fail("cannot promote '%s': snapshot name '%s' from origin \nconflicts with '%s' from target",
					d.Name, o.Name+"@"+moved.Name, d.Name+"@"+moved.Name)
			}
		}
		for _, moved := range o.Snapshots[:i] {
			st.moveOrigin(o.Name+"@"+moved.Name, d.Name+"@"+moved.Name)
		}
		d.Snapshots = append(slices.Clone(o.Snapshots[:i]), d.Snapshots...)
		o.Snapshots = slices.Clone(o.Snapshots[i:])
		d.Origin, o.Origin = o.Origin, d.Name+"@"+s.Name
		if d.Crypt != nil && o.Crypt != nil && d.Crypt.Root == o.Name {
			st.moveRoot(o.Name, d.Name)
		}
		d.Changed, o.Changed = now(), now()
		st.tick(d.Name)
		return nil
	})
}

// moveRoot makes one dataset the encryption root of what had another.
func (st *state) moveRoot(from, to string) {
	key := *st.Datasets[from].Crypt
	for _, d := range st.Datasets {
		if d.Crypt != nil && d.Crypt.Root == from {
			d.Crypt.Root = to
			d.Crypt.Loaded = false
		}
	}
	st.Datasets[to].Crypt.Loaded = key.Loaded
	st.Datasets[to].Crypt.Location = key.Location
}

func (c *call) mount(args []string) error {
	up := args[0] == "mount"
	_, rest, err := parse(args[0], args[1:], "afulO", "o")
	if err != nil {
		return err
	}
	return c.keep.update(func(st *state) error {
		for _, name := range rest {
			d, err := st.open(name)
			switch {
			case err != nil:
				return err
			case c.denied("mount"):
				return fail("cannot %s '%s': permission denied", args[0], name)
			case up && d.Mounted:
				return fail("cannot mount '%s': filesystem already mounted", name)
			case up && !st.keyLoaded(d):
				return fail("cannot mount '%s': encryption key not loaded", name)
			case !up && !d.Mounted:
				return fail("cannot unmount '%s': not currently mounted", name)
			}
			d.Mounted = up
		}
		return nil
	})
}

func (c *call) loadKey(args []string) error {
	load := args[0] == "load-key"
	_, rest, err := parse(args[0], args[1:], "nra", "L")
	if err != nil {
		return err
	}
	return c.keep.update(func(st *state) error {
		for _, name := range rest {
			d, err := st.open(name)
			switch {
			case err != nil:
				return err
			case d.Crypt == nil:
				return fail("Key %sed error: Dataset not encrypted.", strings.TrimSuffix(args[0], "-key"))
			case d.Crypt.Root != name:
				return fail("Key %s error: Keys must be %sed for encryption root of '%s' (%s).", strings.TrimSuffix(args[0], "-key"),
					strings.TrimSuffix(args[0], "-key"), name, d.Crypt.Root)
			case load && d.Crypt.Loaded:
				return exit(255, "Key load error: Key already loaded for '%s'.", name)
			case !load && !d.Crypt.Loaded:
				return exit(255, "Key unload error: Key already unloaded for '%s'.", name)
			}
			d.Crypt.Loaded = load
		}
		return nil
	})
}
