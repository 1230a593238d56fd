package fakezfs

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// spec is what is known of a property: which types have it, whether it can be set, and its default.
type spec struct {
	types    string // letters: f, v, s (snapshot), b (bookmark)
	readOnly bool
	own      bool // not inherited
	def      string
}

var specs = map[string]spec{
	"type": {"fvsb", true, true, ""}, "guid": {"fvsb", true, true, ""}, "createtxg": {"fvsb", true, true, ""},
	"creation": {"fvsb", true, true, ""}, "used": {"fvs", true, true, ""}, "available": {"fv", true, true, ""},
	"referenced": {"fvsb", true, true, ""}, "written": {"fvs", true, true, ""}, "mounted": {"f", true, true, ""},
	"origin": {"fv", true, true, ""}, "encryptionroot": {"fvs", true, true, ""}, "keystatus": {"fvs", true, true, ""},
	"receive_resume_token": {"fv", true, true, ""}, "inconsistent": {"fvs", true, true, ""},
	"snapshots_changed": {"fv", true, true, ""}, "usedbysnapshots": {"fv", true, true, ""},
	"usedbydataset": {"fv", true, true, ""}, "usedbychildren": {"fv", true, true, ""},
	"logicalreferenced": {"fvsb", true, true, ""}, "logicalused": {"fv", true, true, ""},
	"compressratio": {"fvs", true, true, ""}, "userrefs": {"s", true, true, ""}, "clones": {"s", true, true, ""},
	"numclones": {"s", true, true, ""}, "defer_destroy": {"s", true, true, ""},
	"name": {"fvsb", true, true, ""}, "objsetid": {"fvs", true, true, ""},

	"quota": {"f", false, true, "0"}, "refquota": {"f", false, true, "0"}, "reservation": {"fv", false, true, "0"},
	"refreservation": {"fv", false, true, "0"}, "canmount": {"f", false, true, "on"}, "volsize": {"v", false, true, "0"},
	"volblocksize": {"v", false, true, "16384"}, "recordsize": {"f", false, false, "131072"},
	"mountpoint": {"f", false, false, ""}, "sharenfs": {"f", false, false, "off"}, "sharesmb": {"f", false, false, "off"},
	"checksum": {"fv", false, false, "on"}, "compression": {"fv", false, false, "on"}, "atime": {"f", false, false, "on"},
	"relatime": {"f", false, false, "on"}, "devices": {"f", false, false, "on"}, "exec": {"f", false, false, "on"},
	"setuid": {"f", false, false, "on"}, "readonly": {"fv", false, false, "off"}, "snapdir": {"f", false, false, "hidden"},
	"aclmode": {"f", false, false, "discard"}, "aclinherit": {"f", false, false, "restricted"},
	"acltype": {"f", false, false, "off"}, "xattr": {"f", false, false, "sa"}, "copies": {"fv", false, false, "1"},
	"dedup": {"fv", false, false, "off"}, "logbias": {"fv", false, false, "latency"}, "sync": {"fv", false, false, "standard"},
	"primarycache": {"fv", false, false, "all"}, "secondarycache": {"fv", false, false, "all"},
	"snapdev": {"fv", false, false, "hidden"}, "volmode": {"fv", false, false, "default"},
	"overlay": {"f", false, false, "on"}, "special_small_blocks": {"fv", false, false, "0"},
	"casesensitivity": {"f", false, true, "sensitive"}, "normalization": {"f", false, true, "none"},
	"utf8only": {"f", false, true, "off"}, "encryption": {"fvs", false, true, "off"},
	"keyformat": {"fv", false, true, "none"}, "keylocation": {"fv", false, true, "none"},
	"pbkdf2iters": {"fv", false, true, "0"},
}

func userProperty(name string) bool { return strings.Contains(name, ":") }

func knownProperty(name string) bool {
	_, ok := specs[name]
	return ok || userProperty(name)
}

func readOnlyProperty(name string) bool { return specs[name].readOnly }

// applies tells whether a type, of which only the first letter matters, has a property.
func applies(name, kind string) bool {
	return userProperty(name) || strings.Contains(specs[name].types, kind[:1])
}

func cryptProperty(name string) bool {
	return slices.Contains([]string{"encryption", "keyformat", "keylocation", "pbkdf2iters"}, name)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// object is what a listing has a line for.
type object struct {
	d *dataset
	s *snapshot
	b *bookmark
}

func (o object) name() string {
	switch {
	case o.s != nil:
		return o.d.Name + "@" + o.s.Name
	case o.b != nil:
		return o.d.Name + "#" + o.b.Name
	}
	return o.d.Name
}

func (o object) kind() string {
	switch {
	case o.s != nil:
		return "snapshot"
	case o.b != nil:
		return "bookmark"
	}
	return o.d.Type
}

func (o object) txg() uint64 {
	switch {
	case o.s != nil:
		return o.s.TXG
	case o.b != nil:
		return o.b.TXG
	}
	return o.d.TXG
}

// viewer reads properties; it works out what all datasets use only once.
type viewer struct {
	st   *state
	used map[string]int64
}

func (v *viewer) usage(name string) int64 {
	if v.used == nil {
		v.used = v.st.usage()
	}
	return v.used[name]
}

// value returns a property and where it comes from; "-" and "-" where there is none.
func (v *viewer) value(o object, prop string) (value, source string) {
	if !applies(prop, o.kind()) {
		return "-", "-"
	}
	if specs[prop].readOnly {
		return v.computed(o, prop), "-"
	}
	if cryptProperty(prop) {
		return v.crypt(o.d, prop), "-"
	}
	if o.s != nil {
		if value, ok := o.s.Props[prop]; ok {
			return value, "local"
		}
		return "-", "-"
	}
	return v.settable(o.d, prop)
}

func (v *viewer) settable(d *dataset, prop string) (value, source string) {
	for at := d; at != nil; at = v.st.Datasets[parentOf(at.Name)] {
		value, ok := at.Props[prop]
		source := "local"
		if !ok {
			value, ok = at.Received[prop]
			source = "received"
		}
		if ok {
			if at != d {
				source = "inherited from " + at.Name
				if prop == "mountpoint" && strings.HasPrefix(value, "/") {
					value = strings.TrimSuffix(value, "/") + strings.TrimPrefix(d.Name, at.Name)
				}
			}
			return numeric(prop, value), source
		}
		if specs[prop].own {
			break
		}
	}
	switch {
	case prop == "mountpoint":
		return "/" + d.Name, "default"
	case userProperty(prop):
		return "-", "-"
	}
	return specs[prop].def, "default"
}

// numeric prints sizes as -p does.
func numeric(prop, value string) string {
	switch prop {
	case "quota", "refquota", "reservation", "refreservation", "volsize", "volblocksize", "recordsize":
		return strconv.FormatInt(bytesOf(value), 10)
	}
	return value
}

func (v *viewer) crypt(d *dataset, prop string) string {
	if d.Crypt == nil {
		return specs[prop].def
	}
	switch prop {
	case "encryption":
		return d.Crypt.Algorithm
	case "keyformat":
		return d.Crypt.Format
	case "keylocation":
		if d.Crypt.Root != d.Name {
			return "none"
		}
		return d.Crypt.Location
	}
	return specs[prop].def
}

// keyLoaded tells whether the data of a dataset can be read.
func (st *state) keyLoaded(d *dataset) bool {
	if d.Crypt == nil {
		return true
	}
	root := st.Datasets[d.Crypt.Root]
	return root != nil && root.Crypt != nil && root.Crypt.Loaded
}

// mountable tells whether a dataset is mounted when it is made.
func (st *state) mountable(d *dataset) bool {
	v := viewer{st: st}
	can, _ := v.settable(d, "canmount")
	at, _ := v.settable(d, "mountpoint")
	return d.Type == "filesystem" && can == "on" && at != "none" && at != "legacy" && st.keyLoaded(d)
}
