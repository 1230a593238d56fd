package fakezfs

import (
	"slices"
	"strings"
)

// check decides whether a stream may come in, in the order in which zfs decides, and changes nothing.
func (r *receiving) check(st *state, in *incoming) error {
	d := st.Datasets[in.dataset]
	resuming := in.has(featResuming)
	wantsNew := in.FromGUID == 0 && !resuming
	switch {
	case in.has(featRaw) && in.Extra.Crypt == nil:
		return in.fail("invalid stream (no key)")
	case d == nil && wantsNew:
		if err := r.checkParent(st, in); err != nil {
			return err
		}
	case d == nil:
		return in.fail("destination '%s' does not exist", in.dataset)
	case wantsNew:
		if err := r.checkOver(st, in, d); err != nil {
			return err
		}
	case in.has(featRaw) && d.Crypt == nil:
		return in.fail("cannot perform raw receive on top of existing unencrypted dataset")
	}
	if err := r.checkProps(in); err != nil {
		return err
	}
	if r.denied("receive") || d == nil && (r.denied("create") || r.denied("mount")) {
		return in.fail("permission denied")
	}
	switch {
	case d == nil:
		return nil
	case resuming:
		return checkResume(st, in, d)
	case d.Partial != nil:
		return in.fail("destination %s contains partially-complete state from \"zfs receive -s\".", d.Name)
	case wantsNew:
		return nil
	}
	return r.checkIncremental(st, in, d)
}

func (r *receiving) checkParent(st *state, in *incoming) error {
	parent := parentOf(in.dataset)
	p := st.Datasets[parent]
	switch {
	case parent == "":
		return in.fail("destination '%s' does not exist", in.dataset)
	case p == nil:
		return fail("cannot open '%s': dataset does not exist\n%s: unable to restore to destination", parent, in.label)
	case p.Type != "filesystem":
		return in.fail("parent '%s' is not a filesystem", parent)
	}
	return nil
}

// checkOver is about a full stream over a dataset that exists.
func (r *receiving) checkOver(st *state, in *incoming, d *dataset) error {
	children := st.subtree(d.Name, -1)
	switch {
	case !r.f.has('F'):
		return in.fail("destination '%s' exists\nmust specify -F to overwrite it", d.Name)
	case len(d.Snapshots) > 0:
		return in.fail("destination has snapshots (eg. %s@%s)\nmust destroy them to overwrite it", d.Name, d.Snapshots[0].Name)
	case in.Volume && parentOf(d.Name) == "":
		return in.fail("destination %s is the root dataset\ncannot overwrite with a ZVOL", d.Name)
	case in.Volume && len(children) > 1:
		return in.fail("destination has children (eg. %s)\ncannot overwrite with a ZVOL", children[1])
	case d.Origin != "":
		return in.fail("destination '%s' is a clone\nmust destroy it to overwrite it", d.Name)
	case in.has(featRaw) || d.Crypt != nil:
		return in.fail("zfs receive -F cannot be used to destroy an encrypted filesystem or overwrite an unencrypted one " +
			"with an encrypted one")
	}
	return nil
}

// checkProps refuses -o of a property that the type lacks; -x of one is only warned of.
func (r *receiving) checkProps(in *incoming) error {
	kind := "filesystem"
	if in.Volume {
		kind = "volume"
	}
	for _, name := range sortedKeys(r.set) {
		switch {
		case !knownProperty(name) || readOnlyProperty(name):
			return fail("cannot receive: invalid property '%s'", name)
		case !applies(name, kind):
			return in.fail("property '%s' does not apply to datasets of this type", name)
		}
	}
	for _, name := range r.exclude {
		if !applies(name, kind) {
			in.warn = append(in.warn, "Warning: "+in.dataset+": property '"+name+"' does not apply to datasets of this type")
		}
	}
	return nil
}

func checkResume(st *state, in *incoming, d *dataset) error {
	p := d.Partial
	if p != nil && st.busy("receive", d.Name) {
		return in.fail("destination %s contains partially-complete state from \"zfs receive -s\".", d.Name)
	}
	if p == nil || p.Begin.ToGUID != in.ToGUID || p.Begin.FromGUID != in.FromGUID || len(p.Data) == 0 ||
		p.Begin.has(featRaw) != in.has(featRaw) {
		return in.fail("kernel modules must be upgraded to receive this stream.")
	}
	if object, offset := p.position(); in.Extra.Object != object || in.Extra.Offset != offset {
		return in.fail("kernel modules must be upgraded to receive this stream.")
	}
	return nil
}

func (r *receiving) checkIncremental(st *state, in *incoming, d *dataset) error {
	if d.snapshot(in.snap) != nil {
		if d.byGUID(in.ToGUID) != nil {
			in.skip = true
			return nil
		}
		return fail("cannot restore to %s@%s: destination already exists", in.dataset, in.snap)
	}
	base := d.byGUID(in.FromGUID)
	switch {
	case base == nil:
		return in.fail("most recent snapshot of %s does not\nmatch incremental source", d.Name)
	case !r.f.has('F') && d.modifiedSince(base):
		return in.fail("destination %s has been modified\nsince most recent snapshot", d.Name)
	case r.f.has('F') && st.pinned(d, base):
		return in.fail("dataset is busy")
	case d.Crypt != nil && !in.has(featRaw) && !st.keyLoaded(d):
		return in.fail("inherited key must be loaded")
	case d.Crypt != nil && in.has(featRaw) && !d.Crypt.Raw:
		return in.fail("encryption key does not match existing key")
	}
	return nil
}

// pinned tells whether a snapshot newer than base can not be destroyed.
func (st *state) pinned(d *dataset, base *snapshot) bool {
	return slices.ContainsFunc(d.Snapshots, func(s *snapshot) bool {
		full := d.Name + "@" + s.Name
		return s.TXG > base.TXG && (len(s.Holds) > 0 || len(st.clones(full)) > 0 || st.busy("send", full))
	})
}

// clones returns the datasets that depend on a snapshot.
func (st *state) clones(full string) []string {
	var names []string
	for n, d := range st.Datasets {
		if d.Origin == full {
			names = append(names, n)
		}
	}
	slices.SortFunc(names, strings.Compare)
	return names
}
