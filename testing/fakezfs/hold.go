package fakezfs

import (
	"strings"
	"time"
)

func (c *call) hold(args []string) error {
	f, rest, err := parse("hold", args, "r", "")
	if err != nil {
		return err
	}
	if len(rest) < 2 {
		return usage("hold", "missing snapshot argument")
	}
	tag := rest[0]
	return c.keep.update(func(st *state) error {
		all, err := c.held(st, "hold", rest[1:], f)
		if err != nil {
			return err
		}
		for _, full := range all {
			if _, s := st.lookup(full); s.Holds[tag] != 0 {
				return fail("cannot hold snapshot '%s': tag already exists on this dataset", full)
			}
		}
		for _, full := range all {
			_, s := st.lookup(full)
			if s.Holds == nil {
				s.Holds = map[string]int64{}
			}
			s.Holds[tag] = now()
			st.tick(full)
		}
		return nil
	})
}

// held finds the snapshots of hold and release.
func (c *call) held(st *state, what string, names []string, f flags) ([]string, error) {
	var all []string
	for _, full := range names {
		name, snap, ok := strings.Cut(full, "@")
		if !ok {
			return nil, fail("'%s' is not a snapshot", full)
		}
		if _, err := st.open(full); err != nil {
			return nil, err
		}
		depth := 0
		if f.has('r') {
			depth = -1
		}
		for _, n := range st.subtree(name, depth) {
			if st.Datasets[n].snapshot(snap) != nil {
				all = append(all, n+"@"+snap)
			}
		}
	}
	if c.denied(what) {
		if what == "hold" {
			return nil, fail("cannot hold snapshot '%s': permission denied", all[0])
		}
		return nil, fail("cannot release hold from snapshot '%s': permission denied", all[0])
	}
	return all, nil
}

func (c *call) release(args []string) error {
	f, rest, err := parse("release", args, "r", "")
	if err != nil {
		return err
	}
	if len(rest) < 2 {
		return usage("release", "missing snapshot argument")
	}
	tag := rest[0]
	return c.keep.update(func(st *state) error {
		all, err := c.held(st, "release", rest[1:], f)
		if err != nil {
			return err
		}
		for _, full := range all {
			if _, s := st.lookup(full); s.Holds[tag] == 0 {
				return fail("cannot release hold from snapshot '%s': no such tag on this dataset", full)
			}
		}
		for _, full := range all {
			_, s := st.lookup(full)
			delete(s.Holds, tag)
			st.tick(full)
		}
		return nil
	})
}

func (c *call) holds(args []string) error {
	f, rest, err := parse("holds", args, "rHp", "")
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		return usage("holds", "missing snapshot argument")
	}
	return c.keep.view(func(st *state) error {
		root := *c
		root.root = true // looking needs no right
		all, err := root.held(st, "holds", rest, f)
		if err != nil {
			return err
		}
		var rows [][]string
		if !f.has('H') {
			rows = append(rows, []string{"NAME", "TAG", "TIMESTAMP"})
		}
		for _, full := range all {
			_, s := st.lookup(full)
			for _, tag := range sortedKeys(s.Holds) {
				when := number(s.Holds[tag])
				if !f.has('p') {
					when = time.Unix(s.Holds[tag], 0).Format("Mon Jan _2 15:04 2006")
				}
				rows = append(rows, []string{full, tag, when})
			}
		}
		if len(rows) > 1 || f.has('H') {
			printRows(c.out, rows, f.has('H'))
		}
		return nil
	})
}
