package fakezfs

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// selection is which objects a listing shows.
type selection struct {
	types string // letters of kinds
	depth int    // -1: all
	given bool   // -t was given
}

func parseTypes(sub, text string) (string, error) {
	var types strings.Builder
	for t := range strings.SplitSeq(text, ",") {
		switch t {
		case "filesystem", "fs":
			types.WriteByte('f')
		case "volume", "vol":
			types.WriteByte('v')
		case "snapshot", "snap":
			types.WriteByte('s')
		case "bookmark":
			types.WriteByte('b')
		case "all":
			types.WriteString("fvsb")
		default:
			return "", usage(sub, "invalid type '%s'", t)
		}
	}
	return types.String(), nil
}

func selectionOf(sub string, f flags, types string, roots int) (selection, error) {
	s := selection{types: types}
	var err error
	if s.given = f.has('t'); s.given {
		if s.types, err = parseTypes(sub, f.last('t')); err != nil {
			return s, err
		}
	}
	switch {
	case f.has('d'):
		if s.depth, err = strconv.Atoi(f.last('d')); err != nil || s.depth < 0 {
			return s, usage(sub, "%s is not a number", f.last('d'))
		}
	case f.has('r') || roots == 0:
		s.depth = -1
	case s.given && !strings.ContainsAny(s.types, "fv"):
		s.depth = 1
	}
	return s, nil
}

// find returns the objects that names and a selection mean. Names that do not exist are told, and the rest is shown.
func (c *call) find(st *state, names []string, sel selection) ([]object, error) {
	if len(names) == 0 {
		names = sortedKeys(st.Pools)
	}
	var found []object
	var missing error
	for _, name := range names {
		d, err := st.open(name)
		if err != nil {
			if missing != nil {
				_, _ = fmt.Fprintln(c.err, missing)
			}
			missing = err
			continue
		}
		if i := strings.IndexAny(name, "@#"); i >= 0 {
			o := object{d: d, s: d.snapshot(name[i+1:])}
			if name[i] == '#' {
				o = object{d: d, b: d.bookmark(name[i+1:])}
			}
			if !sel.given || strings.Contains(sel.types, o.kind()[:1]) {
				found = append(found, o)
			}
			continue
		}
		for _, n := range st.subtree(d.Name, sel.depth) {
			below := strings.Count(n, "/") - strings.Count(d.Name, "/")
			found = sel.add(found, st.Datasets[n], sel.depth < 0 || below < sel.depth)
		}
	}
	return found, missing
}

func (sel selection) add(found []object, d *dataset, snapshots bool) []object {
	if strings.Contains(sel.types, d.Type[:1]) {
		found = append(found, object{d: d})
	}
	if !snapshots {
		return found
	}
	if strings.Contains(sel.types, "s") {
		for _, s := range d.Snapshots {
			found = append(found, object{d: d, s: s})
		}
	}
	if strings.Contains(sel.types, "b") {
		marks := slices.SortedFunc(slices.Values(d.Bookmarks), func(a, b *bookmark) int { return cmp.Compare(a.Name, b.Name) })
		for _, b := range marks {
			found = append(found, object{d: d, b: b})
		}
	}
	return found
}

func (c *call) list(args []string) error {
	f, names, err := parse("list", args, "Hprj", "otdsS")
	if err != nil {
		return err
	}
	sel, err := selectionOf("list", f, "fv", len(names))
	if err != nil {
		return err
	}
	columns := []string{"name", "used", "available", "referenced", "mountpoint"}
	if o := f.last('o'); o != "" {
		if columns, err = columnsOf("list", o); err != nil {
			return err
		}
	}
	return c.keep.view(func(st *state) error {
		found, missing := c.find(st, names, sel)
		v := &viewer{st: st}
		v.sort(found, f)
		out := bufio.NewWriterSize(c.out, 1<<16)
		if len(found) > 0 {
			v.table(out, found, columns, f)
		}
		if err := out.Flush(); err != nil {
			return errKilled // nobody reads any more
		}
		if missing == nil && len(found) == 0 && len(names) == 0 {
			_, _ = fmt.Fprintln(c.err, "no datasets available")
		}
		return missing
	})
}

func columnsOf(sub, text string) ([]string, error) {
	columns := strings.Split(text, ",")
	for i, col := range columns {
		switch col {
		case "avail":
			col = "available"
		case "refer":
			col = "referenced"
		case "rdonly":
			col = "readonly"
		}
		if !knownProperty(col) {
			return nil, usage(sub, "bad property list: invalid property '%s'", col)
		}
		columns[i] = col
	}
	return columns, nil
}

// sort orders objects by name if nothing else is asked for.
func (v *viewer) sort(found []object, f flags) {
	slices.SortStableFunc(found, func(a, b object) int { return cmp.Compare(a.d.Name, b.d.Name) })
	column, sign := f.last('s'), 1
	if column == "" {
		column, sign = f.last('S'), -1
	}
	switch column {
	case "", "name":
		return
	case "createtxg":
		slices.SortStableFunc(found, func(a, b object) int { return sign * cmp.Compare(a.txg(), b.txg()) })
		return
	}
	slices.SortStableFunc(found, func(a, b object) int {
		x, _ := v.value(a, column)
		y, _ := v.value(b, column)
		m, err1 := strconv.ParseUint(x, 10, 64)
		n, err2 := strconv.ParseUint(y, 10, 64)
		if err1 == nil && err2 == nil {
			return sign * cmp.Compare(m, n)
		}
		return sign * strings.Compare(x, y)
	})
}

var headings = map[string]string{"available": "AVAIL", "referenced": "REFER"}

func (v *viewer) table(out io.Writer, found []object, columns []string, f flags) {
	rows := make([][]string, 0, len(found)+1)
	if !f.has('H') {
		var head []string
		for _, col := range columns {
			h := headings[col]
			if h == "" {
				h = strings.ToUpper(col)
			}
			head = append(head, h)
		}
		rows = append(rows, head)
	}
	for _, o := range found {
		row := make([]string, 0, len(columns))
		for _, col := range columns {
			value, _ := v.value(o, col)
			if !f.has('p') {
				value = readable(col, value)
			}
			row = append(row, value)
		}
		rows = append(rows, row)
	}
	printRows(out, rows, f.has('H'))
}

// printRows separates columns with tabs, or aligns them.
func printRows(out io.Writer, rows [][]string, tabs bool) {
	width := map[int]int{}
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], len(cell))
		}
	}
	for _, row := range rows {
		if tabs {
			_, _ = fmt.Fprintln(out, strings.Join(row, "\t"))
			continue
		}
		for i, cell := range row {
			row[i] = fmt.Sprintf("%-*s", width[i], cell)
		}
		_, _ = fmt.Fprintln(out, strings.TrimRight(strings.Join(row, "  "), " "))
	}
}

// readable prints a value for people.
func readable(prop, value string) string {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return value
	}
	switch prop {
	case "used", "available", "referenced", "written", "usedbydataset", "usedbychildren", "usedbysnapshots", "logicalused",
		"logicalreferenced", "volsize", "volblocksize", "recordsize":
		return human(n)
	case "quota", "refquota", "reservation", "refreservation":
		if n == 0 {
			return "none"
		}
		return human(n)
	case "creation", "snapshots_changed":
		return time.Unix(n, 0).Format("Mon Jan _2 15:04 2006")
	case "compressratio":
		return value + "x"
	}
	return value
}
