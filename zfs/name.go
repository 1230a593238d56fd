package zfs

import (
	"errors"
	"fmt"
	"strings"
)

// ErrName is a name that zfs does not take.
var ErrName = errors.New("invalid name")

// The limits of ZFS.
const (
	maxName  = 255 // bytes of a whole name, snapshot or bookmark included
	maxDepth = 50  // components of a dataset name
)

// ValidName tells what is wrong with the name of a filesystem or volume. The error is an ErrName.
func ValidName(name string) error {
	return validName(name, "")
}

// ValidSnapshotName tells what is wrong with the full name of a snapshot, dataset@snapshot. The error is an ErrName.
func ValidSnapshotName(name string) error {
	return validName(name, "@")
}

// validName checks a full name: of a dataset, or with a separator of a snapshot or a bookmark.
func validName(name, separators string) error {
	bad := func(why string) error { return fmt.Errorf("%w %q: %s", ErrName, name, why) }
	if len(name) > maxName {
		return bad(fmt.Sprintf("longer than %d bytes", maxName))
	}
	if strings.HasPrefix(name, "-") {
		return bad("it would be taken for an option")
	}
	dataset := name
	if separators != "" {
		at := strings.IndexAny(name, separators)
		if at < 0 {
			return bad("has no " + strings.Join(strings.Split(separators, ""), " or "))
		}
		if why := wrongComponent(name[at+1:]); why != "" {
			return bad(why)
		}
		dataset = name[:at]
	}
	components := strings.Split(dataset, "/")
	if len(components) > maxDepth {
		return bad(fmt.Sprintf("more than %d components", maxDepth))
	}
	for _, c := range components {
		if why := wrongComponent(c); why != "" {
			return bad(why)
		}
	}
	if c := dataset[0] | 0x20; c < 'a' || c > 'z' {
		return bad("the name of a pool starts with a letter")
	}
	return nil
}

// wrongComponent tells what is wrong with one component of a name, "" if nothing is. Percent signs are for ZFS's own
// use.
func wrongComponent(c string) string {
	switch c {
	case "":
		return "empty component"
	case ".", "..":
		return "component " + c
	}
	for _, r := range c {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		case strings.ContainsRune("-_.: ", r):
		default:
			return fmt.Sprintf("character %q", r)
		}
	}
	return ""
}

// validProperty checks the name of a property before it becomes part of an argument.
func validProperty(name string) error {
	if name == "" || name[0] == '-' || len(name) > maxName || strings.ContainsFunc(name, notProperty) {
		return fmt.Errorf("%w of a property: %q", ErrName, name)
	}
	return nil
}

func notProperty(r rune) bool {
	return r <= ' ' || r >= 0x7f || r == '=' || r == ','
}

// validValue checks the value of a property. A zero byte would end the argument there.
func validValue(name, value string) error {
	if err := validProperty(name); err != nil {
		return err
	}
	if strings.ContainsRune(value, 0) {
		return fmt.Errorf("%w: zero byte in the value of property %s", ErrName, name)
	}
	return nil
}

// validTag checks the tag of a hold. A leading dot marks the holds that end with a process.
func validTag(tag string) error {
	if tag == "" || tag[0] == '-' || tag[0] == '.' || len(tag) > maxName ||
		strings.ContainsFunc(tag, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("%w of a hold: %q", ErrName, tag)
	}
	return nil
}

// splitName takes dataset@snapshot or dataset#bookmark apart.
func splitName(full string) (dataset, name string, bookmark, ok bool) {
	at := strings.IndexAny(full, "@#")
	if at <= 0 || at == len(full)-1 {
		return "", "", false, false
	}
	return full[:at], full[at+1:], full[at] == '#', true
}
