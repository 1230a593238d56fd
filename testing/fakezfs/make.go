package fakezfs

import "strings"

func (c *call) create(args []string) error {
	f, rest, err := parse("create", args, "psuvnP", "oVb")
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return usage("create", "missing filesystem argument")
	}
	props, err := pairs("create", f.values['o'])
	if err != nil {
		return err
	}
	name := rest[0]
	return c.keep.update(func(st *state) error {
		if err := c.mayCreate(st, name, f, props); err != nil {
			return err
		}
		if st.Datasets[name] != nil {
			return nil // with -p
		}
		if f.has('p') {
			for _, n := range missingParents(st, name) {
				if err := st.make(n, "filesystem", nil, f); err != nil {
					return err
				}
			}
		}
		kind := "filesystem"
		if f.has('V') {
			kind = "volume"
			props = with(props, "volsize", f.last('V'))
		}
		return st.make(name, kind, props, f)
	})
}

func missingParents(st *state, name string) []string {
	var missing []string
	for p := parentOf(name); p != "" && st.Datasets[p] == nil; p = parentOf(p) {
		missing = append([]string{p}, missing...)
	}
	return missing
}

func (c *call) mayCreate(st *state, name string, f flags, props map[string]string) error {
	fault := nameFault(name)
	parent := st.Datasets[parentOf(name)]
	kind := "filesystem"
	if f.has('V') {
		kind = "volume"
	}
	switch {
	case fault != "" || strings.ContainsAny(name, "@#"):
		return fail("cannot create '%s': %s", name, fault)
	case st.Datasets[name] != nil && f.has('p'):
		return nil
	case st.Datasets[name] != nil:
		return fail("cannot create '%s': dataset already exists", name)
	case parentOf(name) == "":
		return fail("cannot create '%s': missing dataset name", name)
	case st.Pools[poolOf(name)] == nil:
		return fail("cannot create '%s': no such pool '%s'", name, poolOf(name))
	case parent == nil && !f.has('p'):
		return fail("cannot create '%s': parent does not exist", name)
	case parent != nil && parent.Type != "filesystem":
		return fail("cannot create '%s': parent is not a filesystem", name)
	case c.denied("create") || c.denied("mount"):
		return fail("cannot create '%s': permission denied", name)
	}
	for _, p := range sortedKeys(props) {
		switch {
		case !knownProperty(p):
			return fail("cannot create '%s': invalid property '%s'", name, p)
		case readOnlyProperty(p):
			return fail("cannot create '%s': '%s' is readonly", name, p)
		case !applies(p, kind):
			return fail("cannot create '%s': '%s' does not apply to datasets of this type", name, p)
		case c.denied(p):
			return fail("cannot create '%s': permission denied", name)
		}
	}
	return nil
}

// make adds an empty dataset whose parent exists.
func (st *state) make(name, kind string, props map[string]string, f flags) error {
	d := &dataset{Name: name, Type: kind, GUID: newGUID(), Creation: now(), Props: map[string]string{}}
	parent := st.Datasets[parentOf(name)]
	switch {
	case props["encryption"] != "" && props["encryption"] != "off":
		k, err := newKey(name, props)
		if err != nil {
			return fail("cannot create '%s': %s", name, err.Error())
		}
		d.Crypt = k
	case parent != nil && parent.Crypt != nil && props["encryption"] == "":
		if !st.keyLoaded(parent) {
			return fail("cannot create '%s': Parent key must be loaded.", name)
		}
		k := *parent.Crypt
		k.Loaded, k.Raw = false, false
		d.Crypt = &k
	}
	for p, value := range props {
		if !cryptProperty(p) {
			d.Props[p] = value
		}
	}
	st.Datasets[name] = d
	d.TXG = st.tick(name)
	d.Mounted = st.mountable(d) && !f.has('u')
	return nil
}
