package fakezfs

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

func (c *call) version([]string) error {
	v := c.sw.Version
	if v == "" {
		v = "2.3.2-2~bpo12+2"
	}
	_, err := fmt.Fprintf(c.out, "zfs-%s\nzfs-kmod-%s\n", v, v)
	return err
}

func (c *call) zpool(args []string) error {
	if len(args) == 0 {
		return usage("zpool", "missing command")
	}
	switch args[0] {
	case "create":
		return c.zpoolCreate(args[1:])
	case "list":
		return c.zpoolList(args[1:])
	case "destroy":
		return c.keep.update(func(st *state) error {
			name := args[len(args)-1]
			if st.Pools[name] == nil {
				return fail("cannot open '%s': no such pool", name)
			}
			maps.DeleteFunc(st.Datasets, func(n string, _ *dataset) bool { return within(n, name) })
			delete(st.Pools, name)
			return nil
		})
	case "version":
		return c.version(nil)
	}
	return usage("zpool", "unrecognized command '%s'", args[0])
}

func (c *call) zpoolCreate(args []string) error {
	f, rest, err := parse("create", args, "fnd", "oOmRt")
	if err != nil {
		return err
	}
	props, err := pairs("create", f.values['O'])
	if err != nil || len(rest) == 0 {
		return usage("create", "missing pool name argument")
	}
	return c.keep.update(func(st *state) error {
		name := rest[0]
		if st.Pools[name] != nil {
			return fail("cannot create '%s': pool already exists", name)
		}
		st.Pools[name] = &pool{GUID: newGUID(), TXG: 4, Capacity: 1 << 40}
		return st.make(name, "filesystem", props, f)
	})
}

func (c *call) zpoolList(args []string) error {
	f, rest, err := parse("list", args, "HpvPL", "oT")
	if err != nil {
		return err
	}
	columns := strings.Split(cmpOr(f.last('o'), "name,size,alloc,free,health"), ",")
	return c.keep.view(func(st *state) error {
		names := rest
		if len(names) == 0 {
			names = sortedKeys(st.Pools)
		}
		used := st.usage()
		var rows [][]string
		if !f.has('H') {
			rows = append(rows, slices.Collect(func(yield func(string) bool) {
				for _, col := range columns {
					if !yield(strings.ToUpper(col)) {
						return
					}
				}
			}))
		}
		for _, n := range names {
			p := st.Pools[n]
			if p == nil {
				return fail("cannot open '%s': no such pool", n)
			}
			cells := map[string]string{
				"name": n, "guid": number(p.GUID), "health": "ONLINE", "size": number(p.Capacity), "allocated": number(used[n]),
				"alloc": number(used[n]), "free": number(p.Capacity - used[n]), "capacity": number(used[n] * 100 / p.Capacity),
			}
			var row []string
			for _, col := range columns {
				row = append(row, cmpOr(cells[col], "-"))
			}
			rows = append(rows, row)
		}
		printRows(c.out, rows, f.has('H'))
		return nil
	})
}
