package fakezfs

import (
	"bufio"
	"slices"
	"strings"
)

func (c *call) get(args []string) error {
	f, rest, err := parse("get", args, "Hprj", "otsd")
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		return usage("get", "missing property argument")
	}
	all := rest[0] == "all"
	var props []string
	if !all {
		if props, err = columnsOf("get", rest[0]); err != nil {
			return err
		}
	}
	sel, err := selectionOf("get", f, "fvsb", len(rest)-1)
	if err != nil {
		return err
	}
	if !f.has('t') && !f.has('r') && !f.has('d') {
		sel.depth = 0
	}
	columns := []string{"name", "property", "value", "source"}
	if o := f.last('o'); o != "" && o != "all" {
		columns = strings.Split(o, ",")
	}
	return c.keep.view(func(st *state) error {
		found, missing := c.find(st, rest[1:], sel)
		v := &viewer{st: st}
		rows := v.properties(found, props, columns, f)
		if !f.has('H') {
			var head []string
			for _, col := range columns {
				head = append(head, strings.ToUpper(col))
			}
			rows = append([][]string{head}, rows...)
		}
		out := bufio.NewWriter(c.out)
		if len(found) > 0 {
			printRows(out, rows, f.has('H'))
		}
		if err := out.Flush(); err != nil {
			return errKilled
		}
		return missing
	})
}

// properties makes the rows of zfs get; no props means all that an object has.
func (v *viewer) properties(found []object, props, columns []string, f flags) [][]string {
	var rows [][]string
	for _, o := range found {
		of := props
		if of == nil {
			of = v.all(o)
		}
		for _, prop := range of {
			value, source := v.value(o, prop)
			if want := f.last('s'); want != "" && !slices.Contains(strings.Split(want, ","), sourceKind(source)) {
				continue
			}
			if !f.has('p') {
				value = readable(prop, value)
			}
			cells := map[string]string{
				"name": o.name(), "property": prop, "value": value, "source": source, "received": "-",
			}
			var row []string
			for _, col := range columns {
				row = append(row, cells[col])
			}
			rows = append(rows, row)
		}
	}
	return rows
}

func sourceKind(source string) string {
	kind, _, _ := strings.Cut(source, " ")
	if kind == "-" {
		return "none"
	}
	return kind
}

// all returns the names of the properties that an object has.
func (v *viewer) all(o object) []string {
	var names []string
	for _, n := range sortedKeys(specs) {
		if n != "name" && applies(n, o.kind()) {
			names = append(names, n)
		}
	}
	own := map[string]bool{}
	for at := o.d; at != nil; at = v.st.Datasets[parentOf(at.Name)] {
		for n := range at.Props {
			own[n] = own[n] || userProperty(n)
		}
	}
	for _, n := range sortedKeys(own) {
		if own[n] {
			names = append(names, n)
		}
	}
	return names
}

func (c *call) set(args []string) error {
	_, rest, err := parse("set", args, "u", "")
	if err != nil {
		return err
	}
	n := 0
	for n < len(rest) && strings.Contains(rest[n], "=") {
		n++
	}
	if n == 0 || n == len(rest) {
		return usage("set", "missing property=value argument")
	}
	props, err := pairs("set", rest[:n])
	if err != nil {
		return err
	}
	return c.keep.update(func(st *state) error {
		for _, name := range rest[n:] {
			if err := c.maySet(st, name, props); err != nil {
				return err
			}
		}
		for _, name := range rest[n:] {
			st.set(name, props)
		}
		return nil
	})
}

func (c *call) maySet(st *state, name string, props map[string]string) error {
	d, err := st.open(name)
	if err != nil {
		return err
	}
	kind := d.Type
	if strings.Contains(name, "@") {
		kind = "snapshot"
	}
	for _, p := range sortedKeys(props) {
		switch {
		case !knownProperty(p):
			return exit(255, "cannot set property for '%s': invalid property '%s'", name, p)
		case readOnlyProperty(p):
			return exit(255, "cannot set property for '%s': '%s' is readonly", name, p)
		case !applies(p, kind):
			return exit(255, "cannot set property for '%s': '%s' does not apply to datasets of this type", name, p)
		case c.denied(p):
			return exit(255, "cannot set property for '%s': permission denied", name)
		}
	}
	return nil
}

func (st *state) set(name string, props map[string]string) {
	d, s := st.lookup(name)
	for p, value := range props {
		switch {
		case s != nil:
			s.Props = with(s.Props, p, value)
		case p == "keylocation" && d.Crypt != nil:
			d.Crypt.Location = value
		default:
			d.Props = with(d.Props, p, value)
		}
	}
	st.tick(name)
}

func (c *call) inherit(args []string) error {
	f, rest, err := parse("inherit", args, "rS", "")
	if err != nil {
		return err
	}
	if len(rest) < 2 {
		return usage("inherit", "missing dataset argument")
	}
	return c.keep.update(func(st *state) error {
		for _, name := range rest[1:] {
			d, err := st.open(name)
			if err != nil {
				return err
			}
			depth := 0
			if f.has('r') {
				depth = -1
			}
			for _, n := range st.subtree(d.Name, depth) {
				delete(st.Datasets[n].Props, rest[0])
				if !f.has('S') {
					delete(st.Datasets[n].Received, rest[0])
				}
			}
		}
		return nil
	})
}
