package fakezfs

import (
	"encoding/hex"
	"maps"
	"os"
	"slices"
	"strings"
)

// prepare checks a stream and makes room for it.
func (r *receiving) prepare(st *state, in *incoming) error {
	if err := r.check(st, in); err != nil || in.skip {
		return err
	}
	d := st.Datasets[in.dataset]
	if in.has(featResuming) {
		in.from = d.Partial.Bytes
		st.mark(in.marker)
		return nil
	}
	p := &partial{Snapshot: in.snap, Begin: in.begin, Keep: r.f.has('s')}
	p.Begin.Extra = extra{}
	if d == nil {
		made, err := r.newDataset(st, in)
		if err != nil {
			return err
		}
		p.New, d = true, made
		st.Datasets[d.Name] = d
	} else if in.FromGUID == 0 {
		p.Replace = true
	}
	d.Partial = p
	st.mark(in.marker)
	return nil
}

// newDataset makes the dataset that a full stream begins.
func (r *receiving) newDataset(st *state, in *incoming) (*dataset, error) {
	d := &dataset{Name: in.dataset, Type: "filesystem", GUID: newGUID(), Creation: now(), Props: map[string]string{}}
	if in.Volume {
		d.Type = "volume"
		d.Props["volsize"] = in.Extra.VolSize
	}
	key, err := r.newCrypt(st, in)
	if err != nil {
		return nil, err
	}
	d.Crypt = key
	if len(r.outer.Props) > 0 {
		d.Received = maps.Clone(r.outer.Props)
		for _, x := range r.exclude {
			delete(d.Received, x)
		}
	}
	for name, value := range r.set {
		if r.denied(name) {
			in.warn = append(in.warn, "cannot receive "+name+" property on "+d.Name+": permission denied")
		} else if !cryptProperty(name) {
			d.Props[name] = value
		}
	}
	slices.Sort(in.warn)
	d.TXG = st.tick(d.Name)
	return d, nil
}

// newCrypt decides how a new dataset is encrypted.
func (r *receiving) newCrypt(st *state, in *incoming) (*crypt, error) {
	if in.has(featRaw) {
		k := *in.Extra.Crypt
		k.Root, k.Raw, k.Loaded = in.dataset, true, false
		return &k, nil
	}
	if algorithm, ok := r.set["encryption"]; ok && algorithm != "off" {
		k, err := newKey(in.dataset, r.set)
		if err != nil {
			return nil, in.fail("%s", err.Error())
		}
		return k, nil
	}
	parent := st.Datasets[parentOf(in.dataset)]
	plain := r.set["encryption"] == "off" || r.outer.HasProps && !slices.Contains(r.exclude, "encryption")
	if parent.Crypt == nil || plain {
		return nil, nil
	}
	if !st.keyLoaded(parent) {
		return nil, in.fail("inherited key must be loaded")
	}
	k := *parent.Crypt
	k.Raw, k.Loaded = false, false
	return &k, nil
}

// newKey makes an encryption root from properties and reads its key.
func newKey(root string, props map[string]string) (*crypt, error) {
	k := &crypt{Algorithm: props["encryption"], Root: root, Format: props["keyformat"], Location: props["keylocation"], Loaded: true}
	if k.Algorithm == "on" {
		k.Algorithm = "aes-256-gcm"
	}
	if k.Location == "" {
		k.Location = "prompt"
	}
	if k.Format == "" {
		return nil, fail("Keyformat required for new encryption root.")
	}
	file, ok := strings.CutPrefix(k.Location, "file://")
	if !ok {
		return k, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fail("Failed to open key material file: No such file or directory")
	}
	key := strings.TrimRight(string(data), "\n")
	switch {
	case k.Format != "hex":
	case len(key) < 64:
		return nil, fail("Hex key too short (expected 64).")
	case len(key) > 64:
		return nil, fail("Hex key too long (expected 64).")
	default:
		if _, err := hex.DecodeString(key); err != nil {
			return nil, fail("Invalid hex character detected.")
		}
	}
	return k, nil
}

// save adds what came in to the partial state, as far as there is room for it.
func (r *receiving) save(st *state, in *incoming) error {
	d := st.Datasets[in.dataset]
	if d == nil || d.Partial == nil {
		return in.fail("dataset does not exist") // destroyed meanwhile
	}
	free, quota := st.available(d)
	for _, e := range in.pending {
		if e.Size > free {
			in.pending, in.unsaved = nil, 0
			if quota {
				return in.fail("destination %s space quota exceeded.", d.Name)
			}
			return in.fail("out of space")
		}
		free -= e.Size
		d.Partial.Data = join(d.Partial.Data, e)
	}
	d.Partial.Bytes = in.from + r.rr.bytes
	in.pending, in.unsaved = nil, 0
	return nil
}

// commit makes the snapshot.
func (r *receiving) commit(st *state, in *incoming) error {
	if err := r.save(st, in); err != nil {
		return err
	}
	d := st.Datasets[in.dataset]
	p := d.Partial
	if in.FromGUID != 0 {
		base := d.byGUID(in.FromGUID)
		switch {
		case base == nil:
			return in.fail("most recent snapshot of %s does not\nmatch incremental source", d.Name)
		case r.f.has('F'):
			d.rollback(base)
		case d.modifiedSince(base):
			return in.fail("destination %s has been modified\nsince most recent snapshot", d.Name)
		}
	}
	txg := st.tick(d.Name)
	if p.Replace {
		d.Type, d.GUID, d.Data, d.Mounted = "filesystem", newGUID(), nil, false
		delete(d.Props, "volsize")
		if in.Volume {
			d.Type = "volume"
			d.Props = with(d.Props, "volsize", in.Extra.VolSize)
		}
	}
	for _, e := range p.Data {
		e.TXG = txg
		d.Data = append(d.Data, e)
	}
	d.Partial = nil
	d.take(p.Snapshot, in.ToGUID, txg).Creation = in.Created
	if !p.New {
		r.applyProps(d, in)
	}
	if p.New && !r.f.has('u') {
		d.Mounted = st.mountable(d)
	}
	return nil
}

func (r *receiving) applyProps(d *dataset, in *incoming) {
	for _, name := range sortedKeys(r.set) {
		switch {
		case r.denied(name):
			in.warn = append(in.warn, "cannot receive "+name+" property on "+d.Name+": permission denied")
		case !cryptProperty(name):
			d.Props = with(d.Props, name, r.set[name])
		}
	}
}

func with(m map[string]string, key, value string) map[string]string {
	if m == nil {
		m = map[string]string{}
	}
	m[key] = value
	return m
}
