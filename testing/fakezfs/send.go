package fakezfs

import (
	"bufio"
	"fmt"
	"slices"
	"strings"
)

// sending is one zfs send, checked.
type sending struct {
	parts    []part
	features uint64
	compound bool
	props    bool
	resume   *tokenData
}

// part is one snapshot in a stream.
type part struct {
	begin
	from  string // as it is named to the user
	data  []extent
	bytes int64 // of its stream
}

func (c *call) send(args []string) error {
	f, rest, err := parse("send", args, "nvPLecwpbhRVsSD", "itIX")
	if err != nil {
		return err
	}
	var s *sending
	err = c.keep.view(func(st *state) error {
		if token := f.last('t'); token != "" {
			s, err = c.fromToken(st, f, token)
			return err
		}
		if len(rest) != 1 {
			return usage("send", "missing snapshot argument")
		}
		s, err = c.checkSend(st, f, rest[0])
		return err
	})
	if err != nil {
		return err
	}
	c.printEstimate(f, s)
	if f.has('n') {
		return nil
	}
	return c.stream(s)
}

func (c *call) checkSend(st *state, f flags, name string) (*sending, error) {
	d, err := st.open(name)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(name, "@") {
		return nil, fail("warning: cannot send '%s': target is busy; if a filesystem, it must not be mounted", name)
	}
	s := &sending{compound: f.has('I') || f.has('p') || f.has('b'), props: f.has('p') || f.has('b')}
	if f.has('R') {
		return nil, fail("warning: cannot send '%s': Operation not supported", name)
	}
	raw := f.has('w') && d.Crypt != nil
	for flag, feature := range map[byte]uint64{'L': featLargeBlocks, 'e': featEmbedded, 'c': featCompressed} {
		if f.has(flag) || raw {
			s.features |= feature
		}
	}
	if raw {
		s.features |= featRaw
	}
	if s.parts, err = d.parts(st, name, f); err != nil {
		return nil, err
	}
	for i := range s.parts {
		s.parts[i].Features |= s.features
	}
	return s, c.maySend(st, d, s, name)
}

func (c *call) maySend(st *state, d *dataset, s *sending, name string) error {
	raw := s.features&featRaw != 0
	switch {
	case c.denied("send"):
		return fail("warning: cannot send '%s': permission denied", name)
	case d.Crypt == nil || raw:
		return nil
	case s.props:
		return fail("cannot send %s: encrypted dataset %s may not be sent with properties without the raw flag\n"+
			"warning: cannot send '%s': backup failed", name, d.Name, name)
	case !st.keyLoaded(d):
		return fail("warning: cannot send '%s': dataset key must be loaded", name)
	}
	return nil
}

// parts finds the snapshots that a stream is to carry.
func (d *dataset) parts(st *state, name string, f flags) ([]part, error) {
	_, to := st.lookup(name)
	from, all := f.last('i'), false
	if f.has('I') {
		from, all = f.last('I'), true
	}
	if from == "" {
		return []part{d.part(to, "", 0, 0)}, nil
	}
	guid, txg, err := d.base(st, name, from, all)
	if err != nil {
		return nil, err
	}
	if txg >= to.TXG {
		return nil, fail("warning: cannot send '%s': not an earlier snapshot from the same fs", name)
	}
	if !all {
		return []part{d.part(to, from, guid, txg)}, nil
	}
	var parts []part
	for _, s := range d.Snapshots {
		if s.TXG <= txg || s.TXG > to.TXG {
			continue
		}
		label := baseName(from)
		if n := len(parts); n > 0 {
			label = baseName(parts[n-1].ToName)
		}
		parts = append(parts, d.part(s, label, guid, txg))
		guid, txg = s.GUID, s.TXG
	}
	return parts, nil
}

// base finds the incremental source of a send.
func (d *dataset) base(st *state, name, from string, all bool) (guid, txg uint64, err error) {
	if !strings.ContainsAny(from, "@#") {
		from = "@" + from
	}
	if from[0] == '@' || from[0] == '#' {
		from = d.Name + from
	}
	if all && strings.Contains(from, "#") {
		return 0, 0, fail("Error: multiple snapshots cannot be sent from a bookmark.")
	}
	owner, err := st.open(from)
	if err != nil {
		return 0, 0, fail("warning: cannot send '%s': incremental source (%s) does not exist", name, from)
	}
	if from == d.Origin {
		_, s := st.lookup(from)
		return s.GUID, s.TXG, nil
	}
	if owner != d {
		return 0, 0, fail("warning: cannot send '%s': not an earlier snapshot from the same fs", name)
	}
	if base, mark, ok := strings.Cut(from, "#"); ok && base == d.Name {
		b := d.bookmark(mark)
		return b.GUID, b.TXG, nil
	}
	_, s := st.lookup(from)
	return s.GUID, s.TXG, nil
}

func baseName(name string) string {
	return name[strings.IndexAny(name, "@#")+1:]
}

func (d *dataset) part(to *snapshot, from string, fromGUID, fromTXG uint64) part {
	p := part{from: from, begin: begin{
		Kind: substream, ToGUID: to.GUID, FromGUID: fromGUID, ToName: d.Name + "@" + to.Name, Created: to.Creation,
		Volume: d.Type == "volume",
	}}
	p.data = d.dataSince(fromTXG, to.TXG)
	p.Extra.VolSize = d.Props["volsize"]
	if d.Crypt != nil {
		p.Extra.Crypt = &crypt{Algorithm: d.Crypt.Algorithm, Format: d.Crypt.Format, Location: "prompt"}
	}
	p.bytes = p.estimate(0)
	return p
}

// estimate returns the length of a part's stream, of which so much data is left out.
func (p part) estimate(skip int64) int64 {
	n := int64(2 * recordSize)
	if p.FromGUID == 0 && skip == 0 {
		n += recordSize + metaSize
	}
	for _, e := range p.data {
		n += recordSize + e.Size + (e.Size+blockSize-1)/blockSize*recordSize
	}
	return n - skip
}

// fromToken continues an interrupted stream.
func (c *call) fromToken(st *state, f flags, text string) (*sending, error) {
	t, err := parseToken(text)
	if err != nil {
		return nil, exit(255, "cannot resume send: resume token is corrupt (%v)", err)
	}
	if f.has('v') {
		w := c.err
		if f.has('n') {
			w = c.out
		}
		_, _ = fmt.Fprint(w, t.contents())
	}
	d, to := st.lookup(t.ToName)
	switch {
	case to == nil:
		return nil, exit(255, "cannot resume send: '%s' used in the initial send no longer exists", t.ToName)
	case to.GUID != t.ToGUID:
		return nil, exit(255, "cannot resume send: '%s' is no longer the same snapshot used in the initial send", t.ToName)
	}
	label, txg, ok := d.sourceOf(st, t.FromGUID)
	if !ok {
		return nil, exit(255, "cannot resume send: incremental source %#x no longer exists", t.FromGUID)
	}
	s := &sending{resume: &t, features: featResuming}
	for _, x := range []struct {
		set     bool
		feature uint64
	}{{t.Raw, featRaw}, {t.Compressed, featCompressed}, {t.LargeBlocks, featLargeBlocks}, {t.Embedded, featEmbedded}} {
		if x.set {
			s.features |= x.feature
		}
	}
	p := d.part(to, label, t.FromGUID, txg)
	p.Features = s.features
	p.bytes = max(p.bytes-t.Bytes, 0)
	p.Extra.Object, p.Extra.Offset, p.Extra.Bytes = t.Object, t.Offset, t.Bytes
	s.parts = []part{p}
	return s, c.maySend(st, d, s, t.ToName)
}

// sourceOf finds an incremental source by GUID: a snapshot, the origin of a clone, or a bookmark.
func (d *dataset) sourceOf(st *state, guid uint64) (name string, txg uint64, ok bool) {
	if guid == 0 {
		return "", 0, true
	}
	if s := d.byGUID(guid); s != nil {
		return d.Name + "@" + s.Name, s.TXG, true
	}
	if _, s := st.lookup(d.Origin); s != nil && s.GUID == guid {
		return d.Origin, s.TXG, true
	}
	i := slices.IndexFunc(d.Bookmarks, func(b *bookmark) bool { return b.GUID == guid })
	if i < 0 {
		return "", 0, false
	}
	return d.Name + "#" + d.Bookmarks[i].Name, d.Bookmarks[i].TXG, true
}

func (c *call) printEstimate(f flags, s *sending) {
	if !f.has('v') {
		return
	}
	w := c.err
	if f.has('n') {
		w = c.out
	}
	out := bufio.NewWriter(w)
	defer func() { _ = out.Flush() }()
	var total int64
	for _, p := range s.parts {
		total += p.bytes
		switch {
		case f.has('P') && p.FromGUID == 0:
			fmt.Fprintf(out, "full\t%s\t%d\n", p.ToName, p.bytes)
		case f.has('P'):
			fmt.Fprintf(out, "incremental\t%s\t%s\t%d\n", p.from, p.ToName, p.bytes)
		case p.FromGUID == 0:
			fmt.Fprintf(out, "full send of %s estimated size is %s\n", p.ToName, human(p.bytes))
		default:
			fmt.Fprintf(out, "send from %s to %s estimated size is %s\n", p.from, p.ToName, human(p.bytes))
		}
	}
	if f.has('P') {
		fmt.Fprintf(out, "size\t%d\n", total)
	} else {
		fmt.Fprintf(out, "total estimated size is %s\n", human(total))
	}
}
