package fakezfs

import (
	"bufio"
	"errors"
	"maps"
)

// stream writes what a send has been found to carry. The state is not held meanwhile: data never changes once written.
func (c *call) stream(s *sending) error {
	last := s.parts[len(s.parts)-1].ToName
	names := make([]string, 0, len(s.parts))
	for _, p := range s.parts {
		names = append(names, p.ToName)
	}
	props, done, err := c.startSend(names, s.props)
	if err != nil {
		return err
	}
	defer done()
	w := bufio.NewWriterSize(&gatedWriter{w: c.out, gate: c.gate("send")}, 2*blockSize)
	rw := &recordWriter{w: w}
	err = s.write(rw, names, props)
	if err == nil {
		err = w.Flush()
	}
	switch {
	case err == nil:
		return nil
	case c.ctx.Err() != nil || errors.Is(err, errKilled):
		// What a bufio.Writer still holds is lost, as with a process that is killed.
		return errKilled
	}
	return fail("warning: cannot send '%s': Broken pipe", last)
}

// startSend marks the snapshots as busy.
func (c *call) startSend(names []string, withProps bool) (props map[string]string, done func(), err error) {
	m := newMarker("send", names...)
	err = c.keep.update(func(st *state) error {
		for _, n := range names {
			if _, s := st.lookup(n); s == nil {
				return notExist(n)
			}
		}
		if d, _ := st.lookup(names[0]); withProps {
			props = maps.Clone(d.Props)
			delete(props, "volsize")
		}
		st.mark(m)
		return nil
	})
	return props, func() {
		_ = c.keep.update(func(st *state) error { st.unmark(m); return nil })
	}, err
}

func (s *sending) write(rw *recordWriter, names []string, props map[string]string) error {
	if s.compound {
		head := begin{Kind: compound, Features: s.features, ToName: names[len(names)-1]}
		head.Extra = extra{Snapshots: names, Props: props, HasProps: s.props}
		if err := rw.write(head.record()); err != nil {
			return err
		}
		if err := rw.end(0); err != nil {
			return err
		}
	}
	for _, p := range s.parts {
		if err := p.write(rw); err != nil {
			return err
		}
	}
	if s.compound {
		return rw.end(0)
	}
	return nil
}

// end writes an END record. In OpenZFS it states the checksum of all before it, in a place of its own.
func (rw *recordWriter) end(guid uint64) error {
	r := &record{}
	r.put32(0, recEnd)
	r.put64(8, uint64(rw.sum))
	r.put64(40, guid)
	return rw.write(r, nil)
}

func (p part) write(rw *recordWriter) error {
	if err := rw.write(p.record()); err != nil {
		return err
	}
	resuming := p.has(featResuming)
	if p.FromGUID == 0 && !resuming {
		r := &record{}
		r.put32(0, recSpill)
		r.put64(8, 1)
		r.put64(16, metaSize)
		r.put64(24, p.ToGUID)
		if err := rw.write(r, make([]byte, metaSize)); err != nil {
			return err
		}
	}
	skipping := resuming
	for _, e := range p.data {
		from := e.Offset
		if skipping {
			if e.Object != p.Extra.Object || p.Extra.Offset < e.Offset || p.Extra.Offset >= e.Offset+e.Size {
				continue
			}
			from, skipping = p.Extra.Offset, false
		}
		if err := p.writeExtent(rw, e, from); err != nil {
			return err
		}
	}
	return rw.end(p.ToGUID)
}

func (p part) writeExtent(rw *recordWriter, e extent, from int64) error {
	end := e.Offset + e.Size
	if from >= end {
		return nil
	}
	o := &record{}
	o.put32(0, recObject)
	o.put64(8, e.Object)
	o.put32(24, blockSize)
	o.put64(40, p.ToGUID)
	if err := rw.write(o, nil); err != nil {
		return err
	}
	block := make([]byte, blockSize)
	for at := from; at < end; {
		n := min(blockSize, end-at)
		fill(block[:n], e.Seed, at)
		r := &record{}
		r.put32(0, recWrite)
		r.put64(8, e.Object)
		r.put64(24, uint64(at))
		r.put64(32, uint64(n))
		r.put64(40, p.ToGUID)
		r.put64(56, e.Seed) // where OpenZFS has the block's own checksum
		if err := rw.write(r, block[:n]); err != nil {
			return err
		}
		at += n
	}
	return nil
}
