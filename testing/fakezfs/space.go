package fakezfs

import (
	"fmt"
	"strconv"
)

// usage returns what each dataset uses, with what is below it.
func (st *state) usage() map[string]int64 {
	m := make(map[string]int64, len(st.Datasets))
	for _, d := range st.Datasets {
		n := d.own(st)
		for name := d.Name; name != ""; name = parentOf(name) {
			m[name] += n
		}
	}
	return m
}

// own returns what a dataset uses itself; what a clone shares with its origin is the origin's.
func (d *dataset) own(st *state) int64 {
	n := int64(overhead)
	if _, s := st.lookup(d.Origin); s != nil {
		n += size(d.Data[d.cut(s.TXG):])
	} else {
		n += size(d.Data)
	}
	if d.Partial != nil {
		n += size(d.Partial.Data)
	}
	return n
}

func (d *dataset) referenced() int64 {
	n := overhead + size(d.Data)
	if d.inconsistent() {
		n += size(d.Partial.Data)
	}
	return n
}

// available returns how much more may be written to a dataset, and whether it is a quota that says so.
func (st *state) available(d *dataset) (free int64, quota bool) {
	return st.availableOf(d, st.usage())
}

func (st *state) availableOf(d *dataset, used map[string]int64) (free int64, quota bool) {
	free = st.Pools[poolOf(d.Name)].Capacity - used[poolOf(d.Name)]
	limit := func(left int64) {
		if left < free {
			free, quota = left, true
		}
	}
	for name := d.Name; name != ""; name = parentOf(name) {
		if q := bytesOf(st.Datasets[name].Props["quota"]); q > 0 {
			limit(q - used[name])
		}
	}
	if q := bytesOf(d.Props["refquota"]); q > 0 {
		limit(q - d.referenced())
	}
	return max(free, 0), quota
}

// bytesOf reads a size such as 1M; what is none is 0.
func bytesOf(text string) int64 {
	if text == "" || text == "none" {
		return 0
	}
	shift := 0
	switch text[len(text)-1] {
	case 'k', 'K':
		shift = 10
	case 'm', 'M':
		shift = 20
	case 'g', 'G':
		shift = 30
	case 't', 'T':
		shift = 40
	}
	if shift > 0 {
		text = text[:len(text)-1]
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	return int64(n * float64(int64(1)<<shift))
}

// human prints a size as zfs does without -p.
func human(n int64) string {
	f, unit := float64(n), ""
	for _, u := range []string{"K", "M", "G", "T", "P"} {
		if f < 1024 {
			break
		}
		f, unit = f/1024, u
	}
	switch {
	case unit == "":
		return fmt.Sprintf("%dB", n)
	case f < 10:
		return fmt.Sprintf("%.2f%s", f, unit)
	case f < 100:
		return fmt.Sprintf("%.1f%s", f, unit)
	}
	return fmt.Sprintf("%.0f%s", f, unit)
}
