package fakezfs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
)

// fakeWrite adds a file: zfs fake-write DATASET BYTES.
func (c *call) fakeWrite(args []string) error {
	if len(args) != 2 {
		return usage("fake-write", "missing argument")
	}
	return c.keep.update(func(st *state) error {
		d, err := st.open(args[0])
		if err != nil {
			return err
		}
		n := bytesOf(args[1])
		if free, _ := st.available(d); n > free {
			return fail("cannot write to '%s': out of space", args[0])
		}
		st.write(d, n)
		return nil
	})
}

// fakeSum prints a digest of what a dataset or snapshot holds: zfs fake-sum DATASET[@SNAPSHOT].
func (c *call) fakeSum(args []string) error {
	if len(args) != 1 {
		return usage("fake-sum", "missing argument")
	}
	return c.keep.view(func(st *state) error {
		if _, err := st.open(args[0]); err != nil {
			return err
		}
		_, err := io.WriteString(c.out, st.digest(args[0])+"\n")
		return err
	})
}

// fakeCapacity makes a pool as large as that: zfs fake-capacity POOL BYTES.
func (c *call) fakeCapacity(args []string) error {
	if len(args) != 2 {
		return usage("fake-capacity", "missing argument")
	}
	return c.keep.update(func(st *state) error {
		p := st.Pools[args[0]]
		if p == nil {
			return notExist(args[0])
		}
		p.Capacity = bytesOf(args[1])
		return nil
	})
}

// digest sums up what a dataset or snapshot holds: equal digests, equal files.
func (st *state) digest(name string) string {
	d, s := st.lookup(name)
	data := d.Data
	if s != nil {
		data = d.dataAt(s.TXG)
	}
	sum := sha256.New()
	var whole []extent
	for _, e := range data {
		e.TXG = 0
		whole = join(whole, e)
	}
	for _, e := range whole {
		_, _ = fmt.Fprintln(sum, e.Object, e.Offset, e.Size, e.Seed)
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}
