package fakezfs

// dropPartial forgets an interrupted receive.
func (st *state) dropPartial(d *dataset) {
	if d.inconsistent() {
		delete(st.Datasets, d.Name)
	}
	d.Partial = nil
}

func (c *call) abortReceive(name string) error {
	return c.keep.update(func(st *state) error {
		d, err := st.open(name)
		switch {
		case err != nil:
			return exit(2, "%s\n%s", err.Error(), usage("receive", "").Error())
		case d.Partial == nil:
			return fail("'%s' does not have any resumable receive state to abort", name)
		case c.denied("destroy") && c.denied("receive"):
			return fail("cannot destroy '%s': permission denied", name)
		}
		hidden := name
		if !d.inconsistent() {
			hidden += "/%recv"
		}
		if st.busy("receive", name) {
			return fail("cannot destroy '%s': dataset is busy", hidden)
		}
		st.dropPartial(d)
		return nil
	})
}
