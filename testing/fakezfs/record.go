package fakezfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
)

// A stream is made of records as OpenZFS lays them out: 312 bytes, then a payload whose length the record tells. What
// differs: extra facts of BEGIN are JSON where OpenZFS has an nvlist, checksums are CRC-32C, and a WRITE record carries
// the seed that its payload grew from.
const (
	recordSize = 312
	sumAt      = recordSize - 32 // the running checksum of every record but BEGIN
	blockSize  = 128 << 10
	metaSize   = 11976 // what a full stream carries besides data
	maxPayload = 16 << 20
	magic      = 0x2F5bacbac
)

// Types of records.
const (
	recBegin  = 0
	recObject = 1
	recWrite  = 3
	recEnd    = 5
	recSpill  = 7
)

// Kinds of streams, in the lowest bits of a BEGIN record's version, and features above them.
const (
	substream = 1
	compound  = 2

	featEmbedded    = 1 << 16
	featLargeBlocks = 1 << 19
	featResuming    = 1 << 20
	featCompressed  = 1 << 22
	featRaw         = 1 << 24
)

// Types of datasets in a BEGIN record.
const (
	ostFilesystem = 2
	ostVolume     = 3
)

var errBadStream = errors.New("checksum mismatch or incomplete stream")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// record is one record without its payload.
type record [recordSize]byte

func (r *record) u32(at int) uint32               { return binary.LittleEndian.Uint32(r[at:]) }
func (r *record) u64(at int) uint64               { return binary.LittleEndian.Uint64(r[at:]) }
func (r *record) put32(at int, v uint32)          { binary.LittleEndian.PutUint32(r[at:], v) }
func (r *record) put64(at int, v uint64)          { binary.LittleEndian.PutUint64(r[at:], v) }
func (r *record) kind() uint32                    { return r.u32(0) }
func (r *record) toName() string                  { return text(r[56 : 56+256]) }
func (r *record) header() (kind, features uint64) { v := r.u64(16); return v & 3, v >> 2 }

func text(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// payload returns how many bytes follow a record.
func (r *record) payload() uint64 {
	switch r.kind() {
	case recBegin:
		return uint64(r.u32(4))
	case recWrite:
		return r.u64(32)
	case recSpill:
		return r.u64(16)
	}
	return 0
}

// begin is what a BEGIN record says.
type begin struct {
	Kind     uint64
	Features uint64
	ToGUID   uint64
	FromGUID uint64
	ToName   string
	Created  int64
	Volume   bool
	Extra    extra
}

// extra is the payload of a BEGIN record.
type extra struct {
	Snapshots []string          `json:"snapshots,omitempty"` // of a compound stream
	Props     map[string]string `json:"props,omitempty"`     // of a stream made with -p
	HasProps  bool              `json:"has_props,omitempty"`
	VolSize   string            `json:"volsize,omitempty"`
	Crypt     *crypt            `json:"crypt,omitempty"` // of a raw stream
	Object    uint64            `json:"object,omitempty"`
	Offset    int64             `json:"offset,omitempty"`
	Bytes     int64             `json:"bytes,omitempty"`
}

func (b begin) has(feature uint64) bool { return b.Features&feature != 0 }

func (b begin) record() (*record, []byte) {
	payload := encode(b.Extra)
	r := &record{}
	r.put32(0, recBegin)
	r.put32(4, uint32(len(payload)))
	r.put64(8, magic)
	r.put64(16, b.Kind|b.Features<<2)
	r.put64(24, uint64(b.Created))
	r.put32(32, ostFilesystem)
	if b.Volume {
		r.put32(32, ostVolume)
	}
	r.put64(40, b.ToGUID)
	r.put64(48, b.FromGUID)
	copy(r[56:56+255], b.ToName)
	return r, payload
}

func parseBegin(r *record, payload []byte) (begin, error) {
	b := begin{
		ToGUID: r.u64(40), FromGUID: r.u64(48), ToName: r.toName(),
		Created: int64(r.u64(24)), Volume: r.u32(32) == ostVolume,
	}
	b.Kind, b.Features = r.header()
	if len(payload) == 0 {
		return b, nil
	}
	return b, decode(payload, &b.Extra)
}

// fill makes the content of the block of an object that begins at offset.
func fill(block []byte, seed uint64, offset int64) {
	src := rand.NewPCG(seed, uint64(offset))
	for len(block) >= 8 {
		binary.LittleEndian.PutUint64(block, src.Uint64())
		block = block[8:]
	}
	for i := range block {
		block[i] = byte(src.Uint64())
	}
}

// recordReader reads the records of a stream, and never a byte more.
type recordReader struct {
	r     io.Reader
	sum   uint32
	bytes int64 // read since the BEGIN record
	buf   []byte
}

// next reads a record and its payload, which is good until the next call. It returns io.EOF only before a record's first
// byte, errBadStream for what is cut or damaged, or the error of a broken input.
func (rr *recordReader) next() (*record, []byte, error) {
	r := &record{}
	if _, err := io.ReadFull(rr.r, r[:]); err != nil {
		return nil, nil, cut(err)
	}
	n := r.payload()
	if n > maxPayload || r.kind() > recSpill || r.kind() == recBegin && r.u64(8) != magic {
		return nil, nil, errBadStream
	}
	if uint64(cap(rr.buf)) < n {
		rr.buf = make([]byte, n)
	}
	payload := rr.buf[:n]
	if _, err := io.ReadFull(rr.r, payload); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, nil, cut(err)
	}
	if r.kind() == recBegin {
		rr.sum, rr.bytes = 0, 0
	}
	rr.sum = r.stamp(rr.sum, payload)
	if rr.sum != r.u32(sumAt) && r.kind() != recBegin {
		return nil, nil, errBadStream
	}
	rr.bytes += recordSize + int64(n)
	return r, payload, nil
}

// stamp returns the checksum after this record.
func (r *record) stamp(sum uint32, payload []byte) uint32 {
	sum = crc32.Update(sum, castagnoli, r[:sumAt])
	if len(payload) > 0 {
		sum = crc32.Update(sum, castagnoli, payload)
	}
	return sum
}

// cut tells a stream that ended too early from one whose source broke.
func cut(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errBadStream
	}
	return err
}

// recordWriter writes records and their checksums.
type recordWriter struct {
	w   io.Writer
	sum uint32
}

func (rw *recordWriter) write(r *record, payload []byte) error {
	if r.kind() == recBegin {
		rw.sum = 0
	}
	rw.sum = r.stamp(rw.sum, payload)
	if r.kind() != recBegin {
		r.put32(sumAt, rw.sum)
	}
	if _, err := rw.w.Write(r[:]); err != nil {
		return err
	}
	if len(payload) == 0 {
		return nil
	}
	_, err := rw.w.Write(payload)
	return err
}
