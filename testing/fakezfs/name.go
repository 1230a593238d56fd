package fakezfs

import (
	"fmt"
	"strings"
)

// maxName is the longest name of a dataset or snapshot.
const maxName = 255

// nameFault tells what is wrong with a name, or "".
func nameFault(name string) string {
	if len(name) > maxName {
		return "name is too long"
	}
	seps := 0
	for i, r := range name {
		switch {
		case r == '@' || r == '#':
			seps++
			if seps > 1 {
				return fmt.Sprintf("multiple '%c' delimiters in name", r)
			}
		case r == '/' && seps > 0:
			return "trailing slash or invalid character '/' in name"
		case !strings.ContainsRune("/-_.: %", r) && (r > 'z' || !alnum(byte(r))):
			return fmt.Sprintf("invalid character '%c' in name", r)
		case i == 0 && !letter(byte(r)):
			return "name must begin with a letter"
		}
	}
	switch {
	case name == "" || strings.Contains(name, "//") || strings.ContainsAny(name[len(name)-1:], "@#"):
		return "empty component in name"
	case strings.HasPrefix(name, "/"):
		return "leading slash in name"
	case strings.HasSuffix(name, "/"):
		return "trailing slash in name"
	}
	return ""
}

func letter(b byte) bool { return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' }

func alnum(b byte) bool { return letter(b) || b >= '0' && b <= '9' }

// open checks the name of an existing dataset, snapshot or bookmark.
func (st *state) open(name string) (*dataset, error) {
	if fault := nameFault(name); fault != "" {
		return nil, fail("cannot open '%s': %s", name, fault)
	}
	base := name
	if i := strings.IndexAny(name, "@#"); i >= 0 {
		base = name[:i]
	}
	d := st.Datasets[base]
	if d == nil {
		return nil, notExist(name)
	}
	if base == name {
		return d, nil
	}
	rest := name[len(base)+1:]
	if name[len(base)] == '@' && d.snapshot(rest) == nil || name[len(base)] == '#' && d.bookmark(rest) == nil {
		return nil, notExist(name)
	}
	return d, nil
}
