package fakezfs

import (
	"slices"
	"strconv"
	"strings"
)

func number[N int64 | uint64](n N) string {
	if n < 0 {
		return strconv.FormatInt(int64(n), 10)
	}
	return strconv.FormatUint(uint64(n), 10)
}

// computed returns a property that nobody can set.
func (v *viewer) computed(o object, prop string) string {
	switch prop {
	case "name":
		return o.name()
	case "type":
		return o.kind()
	case "createtxg", "objsetid":
		return number(o.txg())
	case "guid":
		return number(o.guid())
	case "creation":
		return number(o.creation())
	case "encryptionroot", "keystatus":
		return v.keyState(o.d, prop)
	case "compressratio":
		return "1.00"
	case "inconsistent":
		return strconv.Itoa(btoi(o.s == nil && o.d.inconsistent()))
	}
	switch {
	case o.s != nil:
		return v.ofSnapshot(o, prop)
	case o.b != nil:
		return number(overhead + size(o.d.dataAt(o.b.TXG)))
	}
	return v.ofDataset(o.d, prop)
}

func (v *viewer) ofSnapshot(o object, prop string) string {
	switch prop {
	case "referenced", "logicalreferenced":
		return number(overhead + size(o.d.dataAt(o.s.TXG)))
	case "used":
		return "0"
	case "written":
		return number(size(o.d.dataSince(o.d.before(o.s), o.s.TXG)))
	case "userrefs":
		return strconv.Itoa(len(o.s.Holds))
	case "clones":
		return strings.Join(v.st.clones(o.name()), ",")
	case "numclones":
		return strconv.Itoa(len(v.st.clones(o.name())))
	case "defer_destroy":
		return "off"
	}
	return "-"
}

// before returns the transaction group of the snapshot that precedes s.
func (d *dataset) before(s *snapshot) uint64 {
	i := slices.Index(d.Snapshots, s)
	if i <= 0 {
		return 0
	}
	return d.Snapshots[i-1].TXG
}

func (v *viewer) ofDataset(d *dataset, prop string) string {
	switch prop {
	case "used", "logicalused":
		return number(v.usage(d.Name))
	case "available":
		v.usage(d.Name) // counts all
		free, _ := v.st.availableOf(d, v.used)
		return number(free)
	case "referenced", "logicalreferenced":
		return number(d.referenced())
	case "usedbydataset":
		return number(d.own(v.st))
	case "usedbychildren":
		return number(v.usage(d.Name) - d.own(v.st))
	case "usedbysnapshots":
		return "0"
	case "written":
		if s := d.newest(); s != nil {
			return number(size(d.Data[d.cut(s.TXG):]))
		}
		return number(d.referenced())
	case "mounted":
		if d.Mounted {
			return "yes"
		}
		return "no"
	case "origin":
		if d.Origin != "" {
			return d.Origin
		}
	case "receive_resume_token":
		if t := d.token(); t != "" {
			return t
		}
	case "snapshots_changed":
		if d.Changed != 0 {
			return number(d.Changed)
		}
	}
	return "-"
}

func (v *viewer) keyState(d *dataset, prop string) string {
	switch {
	case d.Crypt == nil:
		return "-"
	case prop == "encryptionroot":
		return d.Crypt.Root
	case v.st.keyLoaded(d):
		return "available"
	}
	return "unavailable"
}

func (o object) guid() uint64 {
	switch {
	case o.s != nil:
		return o.s.GUID
	case o.b != nil:
		return o.b.GUID
	}
	return o.d.GUID
}

func (o object) creation() int64 {
	switch {
	case o.s != nil:
		return o.s.Creation
	case o.b != nil:
		return o.b.Creation
	}
	return o.d.Creation
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
