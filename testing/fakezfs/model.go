package fakezfs

import (
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"time"
)

// overhead is what a dataset uses before it holds any data.
const overhead = 24576

// state is everything that a system knows.
type state struct {
	Pools    map[string]*pool    `json:"pools"`
	Datasets map[string]*dataset `json:"datasets"`
	Busy     []marker            `json:"busy,omitempty"` // streams at work
	Died     map[string]bool     `json:"died,omitempty"` // switches that have done their work
}

// pool is what the datasets of one pool share.
type pool struct {
	GUID     uint64 `json:"guid"`
	TXG      uint64 `json:"txg"`
	Capacity int64  `json:"capacity"`
}

// dataset is a filesystem or volume.
type dataset struct {
	Name      string            `json:"name"`
	Type      string            `json:"type"` // filesystem or volume
	GUID      uint64            `json:"guid"`
	TXG       uint64            `json:"txg"`
	Creation  int64             `json:"creation"`
	Props     map[string]string `json:"props,omitempty"`    // set here
	Received  map[string]string `json:"received,omitempty"` // came with a stream
	Crypt     *crypt            `json:"crypt,omitempty"`
	Mounted   bool              `json:"mounted,omitempty"`
	Origin    string            `json:"origin,omitempty"` // snapshot that it is a clone of
	Data      []extent          `json:"data,omitempty"`   // in order of TXG; nothing is ever overwritten
	Snapshots []*snapshot       `json:"snapshots,omitempty"`
	Bookmarks []*bookmark       `json:"bookmarks,omitempty"`
	Partial   *partial          `json:"partial,omitempty"`
	Changed   int64             `json:"changed,omitempty"` // snapshots_changed
}

// crypt is what an encrypted dataset knows of its key.
type crypt struct {
	Algorithm string `json:"algorithm"`
	Root      string `json:"root"`             // the dataset that has the key
	Format    string `json:"format"`           // of the key
	Location  string `json:"location"`         // of the key
	Loaded    bool   `json:"loaded,omitempty"` // on the root only
	Raw       bool   `json:"raw,omitempty"`    // came as a raw stream
}

// extent is a piece of a file: a run of blocks whose content follows from Seed.
type extent struct {
	Object uint64 `json:"o"`
	Offset int64  `json:"f,omitempty"` // of its first byte in the object
	Size   int64  `json:"n"`
	Seed   uint64 `json:"s"` // of the block at offset 0
	TXG    uint64 `json:"t"` // when it was written
}

// snapshot holds its dataset's data up to TXG.
type snapshot struct {
	Name     string            `json:"name"`
	GUID     uint64            `json:"guid"`
	TXG      uint64            `json:"txg"`
	Creation int64             `json:"creation"`
	Holds    map[string]int64  `json:"holds,omitempty"`
	Props    map[string]string `json:"props,omitempty"`
}

// bookmark remembers a snapshot.
type bookmark struct {
	Name     string `json:"name"`
	GUID     uint64 `json:"guid"`
	TXG      uint64 `json:"txg"`
	Creation int64  `json:"creation"`
}

func newState() *state {
	return &state{Pools: map[string]*pool{}, Datasets: map[string]*dataset{}, Died: map[string]bool{}}
}

func newGUID() uint64 {
	for {
		if g := rand.Uint64(); g != 0 {
			return g
		}
	}
}

// tick starts a transaction group in the pool of a dataset.
func (st *state) tick(name string) uint64 {
	p := st.Pools[poolOf(name)]
	p.TXG++
	return p.TXG
}

// subtree returns the names of root and what is below it, down to depth (-1: all), parents first.
func (st *state) subtree(root string, depth int) []string {
	if depth == 0 {
		return []string{root}
	}
	var names []string
	for n := range st.Datasets {
		if within(n, root) && (depth < 0 || strings.Count(n, "/")-strings.Count(root, "/") <= depth) {
			names = append(names, n)
		}
	}
	sort.Strings(names)
	return names
}

// within tells whether name is root or below it.
func within(name, root string) bool {
	rest, ok := strings.CutPrefix(name, root)
	return ok && (rest == "" || rest[0] == '/')
}

func poolOf(name string) string {
	if i := strings.IndexAny(name, "/@#"); i >= 0 {
		return name[:i]
	}
	return name
}

func parentOf(name string) string {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i]
	}
	return ""
}

// lookup returns a dataset and one of its snapshots.
func (st *state) lookup(full string) (*dataset, *snapshot) {
	name, snap, ok := strings.Cut(full, "@")
	d := st.Datasets[name]
	if d == nil || !ok {
		return d, nil
	}
	return d, d.snapshot(snap)
}

func (d *dataset) snapshot(name string) *snapshot {
	if i := slices.IndexFunc(d.Snapshots, func(s *snapshot) bool { return s.Name == name }); i >= 0 {
		return d.Snapshots[i]
	}
	return nil
}

func (d *dataset) byGUID(guid uint64) *snapshot {
	if i := slices.IndexFunc(d.Snapshots, func(s *snapshot) bool { return s.GUID == guid }); i >= 0 {
		return d.Snapshots[i]
	}
	return nil
}

func (d *dataset) bookmark(name string) *bookmark {
	if i := slices.IndexFunc(d.Bookmarks, func(b *bookmark) bool { return b.Name == name }); i >= 0 {
		return d.Bookmarks[i]
	}
	return nil
}

func (d *dataset) newest() *snapshot {
	if len(d.Snapshots) == 0 {
		return nil
	}
	return d.Snapshots[len(d.Snapshots)-1]
}

// inconsistent tells whether the first receive of the dataset is incomplete.
func (d *dataset) inconsistent() bool { return d.Partial != nil && d.Partial.New }

// dataAt returns what the dataset held at the end of a transaction group. The slice is shared and must not be changed.
func (d *dataset) dataAt(txg uint64) []extent {
	return d.Data[:d.cut(txg):d.cut(txg)]
}

// dataSince returns what was written after one transaction group and until another.
func (d *dataset) dataSince(from, to uint64) []extent {
	a, b := d.cut(from), d.cut(to)
	if a > b {
		return nil
	}
	return d.Data[a:b:b]
}

func (d *dataset) cut(txg uint64) int {
	i, _ := slices.BinarySearchFunc(d.Data, txg, func(e extent, t uint64) int {
		if e.TXG <= t {
			return -1
		}
		return 1
	})
	return i
}

func size(data []extent) int64 {
	var n int64
	for _, e := range data {
		n += e.Size
	}
	return n
}

// join adds an extent to a list, to its last one if it goes on from there or begins within it.
func join(list []extent, e extent) []extent {
	if n := len(list) - 1; n >= 0 {
		l := &list[n]
		if l.Object == e.Object && l.Seed == e.Seed && l.Offset <= e.Offset && e.Offset <= l.Offset+l.Size {
			l.Size = max(l.Size, e.Offset+e.Size-l.Offset)
			return list
		}
	}
	return append(list, e)
}

// modifiedSince tells whether anything was written after a snapshot.
func (d *dataset) modifiedSince(s *snapshot) bool { return len(d.Data) > d.cut(s.TXG) }

// rollback forgets what came after a snapshot.
func (d *dataset) rollback(to *snapshot) {
	d.Data = d.dataAt(to.TXG)
	d.Snapshots = slices.DeleteFunc(slices.Clone(d.Snapshots), func(s *snapshot) bool { return s.TXG > to.TXG })
	d.Bookmarks = slices.DeleteFunc(slices.Clone(d.Bookmarks), func(b *bookmark) bool { return b.TXG > to.TXG })
}

// write adds a new file.
func (st *state) write(d *dataset, bytes int64) {
	if bytes <= 0 {
		return // an empty file has no blocks
	}
	object := uint64(2)
	for _, e := range d.Data {
		object = max(object, e.Object+1)
	}
	d.Data = append(d.Data, extent{Object: object, Size: bytes, Seed: newGUID(), TXG: st.tick(d.Name)})
}

// take adds a snapshot in a transaction group.
func (d *dataset) take(name string, guid, txg uint64) *snapshot {
	s := &snapshot{Name: name, GUID: guid, TXG: txg, Creation: now()}
	d.Snapshots = append(d.Snapshots, s)
	d.Changed = s.Creation
	return s
}

func now() int64 { return time.Now().Unix() }
