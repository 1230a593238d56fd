package fakezfs

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// saveEvery is after how many bytes a receive saves what it has: what a kill can cost it.
const saveEvery = 1 << 20

// receiving is one zfs receive at work.
type receiving struct {
	*call
	f       flags
	target  string // as given
	set     map[string]string
	exclude []string
	rr      *recordReader
	outer   extra // of the compound stream around, if any
}

// incoming is one snapshot on its way in.
type incoming struct {
	begin
	dataset string
	snap    string
	label   string // how messages about it begin
	skip    bool   // it is there already
	from    int64  // bytes received by earlier tries
	pending []extent
	unsaved int64
	marker  marker
	warn    []string
}

func (in *incoming) fail(format string, args ...any) error {
	return fail("%s: %s", in.label, fmt.Sprintf(format, args...))
}

func (c *call) receive(args []string) error {
	f, rest, err := parse("receive", args, "vMnsFhudeA", "ox")
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return usage("receive", "missing snapshot argument")
	}
	if f.has('A') {
		return c.abortReceive(rest[0])
	}
	r := &receiving{call: c, f: f, target: rest[0], exclude: f.values['x']}
	if r.set, err = pairs("receive", f.values['o']); err != nil {
		return err
	}
	if fault := nameFault(r.target); fault != "" {
		return fail("cannot open '%s': %s", r.target, fault)
	}
	r.rr = &recordReader{r: &gatedReader{r: c.in, gate: c.gate("receive")}}
	return r.all()
}

// all receives one stream, or all streams of a package.
func (r *receiving) all() error {
	head, err := r.begin()
	if err != nil {
		return err
	}
	if head.Kind != compound {
		return r.one(head)
	}
	r.outer = head.Extra
	if rec, _, err := r.rr.next(); err != nil || rec.kind() != recEnd {
		return broken(err)
	}
	for {
		rec, payload, err := r.rr.next()
		if err != nil {
			return broken(err)
		}
		if rec.kind() == recEnd {
			return nil
		}
		b, err := parseBegin(rec, payload)
		if err != nil || rec.kind() != recBegin {
			return broken(err)
		}
		if err := r.one(b); err != nil {
			return err
		}
	}
}

// broken is what a receive says of a stream whose frame does not hold.
func broken(err error) error {
	if errors.Is(err, errKilled) {
		return errKilled
	}
	return fail("cannot receive: failed to read from stream")
}

func (r *receiving) begin() (begin, error) {
	rec, payload, err := r.rr.next()
	if err != nil {
		return begin{}, broken(err)
	}
	if rec.kind() != recBegin {
		return begin{}, fail("cannot receive: invalid stream (bad magic number)")
	}
	b, err := parseBegin(rec, payload)
	if err != nil {
		return begin{}, broken(err)
	}
	return b, nil
}

// one receives one snapshot.
func (r *receiving) one(b begin) error {
	in, err := r.name(b)
	if err != nil {
		return err
	}
	in.marker = newMarker("receive", in.dataset)
	if r.f.has('n') {
		if err := r.keep.view(func(st *state) error { return r.check(st, in) }); err != nil {
			return err
		}
		in.skip = true
	} else if err := r.keep.update(func(st *state) error { return r.prepare(st, in) }); err != nil {
		return err
	}
	if r.f.has('v') {
		r.say(in)
	}
	err = r.data(in)
	for _, w := range in.warn {
		_, _ = fmt.Fprintln(r.err, w)
	}
	return err
}

func (r *receiving) say(in *incoming) {
	kind, verb := "full", "receiving"
	if in.FromGUID != 0 {
		kind = "incremental"
	}
	if r.f.has('n') {
		verb = "would receive"
	}
	_, _ = fmt.Fprintf(r.out, "%s %s stream of %s into %s@%s\n", verb, kind, in.ToName, in.dataset, in.snap)
	if in.skip && !r.f.has('n') {
		_, _ = fmt.Fprintf(r.out, "snap %s@%s already exists; ignoring\n", in.dataset, in.snap)
	}
}

// name decides where a stream goes.
func (r *receiving) name(b begin) (*incoming, error) {
	in := &incoming{begin: b, label: "cannot receive incremental stream"}
	switch {
	case b.has(featResuming):
		in.label = "cannot receive resume stream"
	case b.FromGUID == 0:
		in.label = "cannot receive new filesystem stream"
	}
	sent, snap, ok := strings.Cut(b.ToName, "@")
	if !ok {
		return nil, broken(nil)
	}
	in.dataset, in.snap = r.target, snap
	if name, given, ok := strings.Cut(r.target, "@"); ok {
		if len(r.outer.Snapshots) > 1 {
			return nil, fail("cannot receive: cannot specify snapshot name for multi-snapshot stream")
		}
		in.dataset, in.snap = name, given
	}
	switch {
	case r.f.has('e'):
		in.dataset += "/" + sent[strings.LastIndexByte(sent, '/')+1:]
	case r.f.has('d') && strings.Contains(sent, "/"):
		in.dataset += sent[strings.IndexByte(sent, '/'):]
	}
	if fault := nameFault(in.dataset + "@" + in.snap); fault != "" {
		return nil, in.fail("invalid name")
	}
	return in, nil
}

// data reads the records up to the end of one snapshot and puts them where they belong.
func (r *receiving) data(in *incoming) error {
	defer func() {
		_ = r.keep.update(func(st *state) error { st.unmark(in.marker); return nil })
	}()
	err := r.records(in)
	if err == nil || in.skip {
		return err
	}
	return r.interrupted(in, err)
}

func (r *receiving) records(in *incoming) error {
	for {
		rec, payload, err := r.rr.next()
		switch {
		case err != nil && in.skip:
			return broken(err)
		case err != nil:
			return err
		case rec.kind() == recBegin:
			return errBadStream
		case rec.kind() == recEnd && in.skip:
			return nil
		case rec.kind() == recEnd:
			return r.change(func(st *state) error { return r.commit(st, in) })
		case rec.kind() == recWrite && !in.skip:
			if err := r.block(in, rec, payload); err != nil {
				return err
			}
		}
	}
}

// change keeps what fn did although it returned an error: what came in before the pool was full is there.
func (r *receiving) change(fn func(*state) error) error {
	var result error
	err := r.keep.update(func(st *state) error {
		result = fn(st)
		return nil
	})
	if err != nil {
		return err
	}
	return result
}

// block takes in one block of data.
func (r *receiving) block(in *incoming, rec *record, payload []byte) error {
	e := extent{Object: rec.u64(8), Offset: int64(rec.u64(24)), Size: int64(len(payload)), Seed: rec.u64(56)}
	in.pending = join(in.pending, e)
	in.unsaved += e.Size
	if in.unsaved < saveEvery {
		return nil
	}
	return r.change(func(st *state) error { return r.save(st, in) })
}

// interrupted saves what there is and says why there is no more.
func (r *receiving) interrupted(in *incoming, cause error) error {
	var token string
	err := r.change(func(st *state) error {
		err := r.save(st, in)
		if d := st.Datasets[in.dataset]; d != nil && d.Partial != nil {
			if token = d.token(); token == "" {
				st.dropPartial(d)
			}
		}
		return err
	})
	switch {
	case errors.Is(cause, errKilled):
		return errKilled
	case !errors.Is(cause, io.EOF) && !errors.Is(cause, errBadStream):
		return cause
	case err != nil:
		return err
	case token == "":
		return in.fail("checksum mismatch or incomplete stream")
	}
	return in.fail("checksum mismatch or incomplete stream.\nPartially received snapshot is saved.\n"+
		"A resuming stream can be generated on the sending system by running:\n    zfs send -t %s", token)
}
