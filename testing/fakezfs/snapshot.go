package fakezfs

import (
	"maps"
	"strings"
)

func (c *call) snap(args []string) error {
	f, names, err := parse("snapshot", args, "r", "o")
	if err != nil {
		return err
	}
	props, err := pairs("snapshot", f.values['o'])
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return usage("snapshot", "missing snapshot argument")
	}
	return c.keep.update(func(st *state) error {
		all, err := c.toSnapshot(st, names, f.has('r'))
		if err != nil {
			return err
		}
		txg := map[string]uint64{} // one per pool
		for _, full := range all {
			name, snap, _ := strings.Cut(full, "@")
			if txg[poolOf(name)] == 0 {
				txg[poolOf(name)] = st.tick(name)
			}
			s := st.Datasets[name].take(snap, newGUID(), txg[poolOf(name)])
			s.Props = maps.Clone(props)
		}
		return nil
	})
}

// toSnapshot checks snapshots that are to be made: all or none.
func (c *call) toSnapshot(st *state, names []string, recursive bool) ([]string, error) {
	var all []string
	for _, full := range names {
		name, snap, ok := strings.Cut(full, "@")
		fault := nameFault(full)
		switch {
		case !ok || fault != "":
			return nil, fail("cannot create snapshot '%s': %s", full, cmpOr(fault, "missing '@' delimiter in snapshot name"))
		case st.Datasets[name] == nil:
			return nil, usage("snapshot [-r] [-o property=value] ... <filesystem|volume>@<snap>", "%s", notExist(name).Error())
		}
		depth := 0
		if recursive {
			depth = -1
		}
		for _, n := range st.subtree(name, depth) {
			all = append(all, n+"@"+snap)
		}
	}
	if c.denied("snapshot") {
		return nil, fail("cannot create snapshots : permission denied")
	}
	used := st.usage()
	for _, full := range all {
		d, s := st.lookup(full)
		if free, _ := st.availableOf(d, used); free == 0 {
			return nil, fail("cannot create snapshots : out of space")
		}
		if s != nil {
			more := ""
			if len(all) > 1 {
				more = "\nno snapshots were created"
			}
			return nil, fail("cannot create snapshot '%s': dataset already exists%s", full, more)
		}
	}
	return all, nil
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func (c *call) rollback(args []string) error {
	f, rest, err := parse("rollback", args, "rRf", "")
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return usage("rollback", "missing dataset argument")
	}
	return c.keep.update(func(st *state) error {
		d, err := st.open(rest[0])
		if err != nil {
			return err
		}
		_, s := st.lookup(rest[0])
		if s == nil {
			return fail("cannot open '%s': not a snapshot", rest[0])
		}
		if c.denied("rollback") {
			return fail("cannot rollback '%s': permission denied", d.Name)
		}
		newer := d.newer(s)
		if len(newer) > 0 && !f.has('r') && !f.has('R') {
			return fail("cannot rollback to '%s': more recent snapshots or bookmarks exist\n"+
				"use '-r' to force deletion of the following snapshots and bookmarks:\n%s", rest[0], strings.Join(newer, "\n"))
		}
		for _, n := range newer {
			if strings.Contains(n, "@") {
				if err := st.mayDestroy(n, false); err != nil {
					return err
				}
			}
		}
		if d.Partial != nil {
			return fail("cannot rollback '%s': dataset is busy", d.Name)
		}
		d.rollback(s)
		st.tick(d.Name)
		if len(newer) > 0 {
			d.Changed = now()
		}
		return nil
	})
}

// newer returns the snapshots and bookmarks younger than s.
func (d *dataset) newer(s *snapshot) []string {
	var names []string
	for _, o := range d.Snapshots {
		if o.TXG > s.TXG {
			names = append(names, d.Name+"@"+o.Name)
		}
	}
	for _, b := range d.Bookmarks {
		if b.TXG > s.TXG {
			names = append(names, d.Name+"#"+b.Name)
		}
	}
	return names
}

func (c *call) bookmark(args []string) error {
	_, rest, err := parse("bookmark", args, "", "")
	if err != nil {
		return err
	}
	if len(rest) != 2 {
		return usage("bookmark", "missing bookmark argument")
	}
	return c.keep.update(func(st *state) error {
		from, to := rest[0], rest[1]
		d, err := st.open(from)
		name := to[strings.IndexByte(to, '#')+1:]
		if strings.HasPrefix(to, "#") && d != nil {
			to = d.Name + to
		}
		switch {
		case err != nil:
			return err
		case c.denied("bookmark"):
			return fail("cannot create bookmark '%s': permission denied", to)
		case nameFault(to) != "" || to != d.Name+"#"+name:
			return fail("cannot create bookmark '%s': bookmark is in a different filesystem", to)
		case d.bookmark(name) != nil:
			return fail("cannot create bookmark '%s': bookmark exists", to)
		}
		made := &bookmark{Name: name}
		if _, mark, ok := strings.Cut(from, "#"); ok {
			*made = *d.bookmark(mark)
			made.Name = name
		} else if _, s := st.lookup(from); s != nil {
			made.GUID, made.TXG, made.Creation = s.GUID, s.TXG, s.Creation
		} else {
			return fail("cannot create bookmark '%s': invalid source", to)
		}
		d.Bookmarks = append(d.Bookmarks, made)
		st.tick(d.Name)
		return nil
	})
}
