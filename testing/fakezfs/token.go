package fakezfs

import (
	"bytes"
	"compress/zlib"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"
)

// partial is what an interrupted receive leaves behind.
type partial struct {
	New      bool              `json:"new,omitempty"`     // the dataset itself came with it
	Replace  bool              `json:"replace,omitempty"` // a full stream over an empty dataset
	Snapshot string            `json:"snapshot"`          // to be
	Data     []extent          `json:"data,omitempty"`
	Begin    begin             `json:"begin"` // of the first try
	Bytes    int64             `json:"bytes"`
	Props    map[string]string `json:"props,omitempty"`
	Keep     bool              `json:"keep,omitempty"` // made with -s
}

// tokenData is what a resume token holds.
type tokenData struct {
	FromGUID    uint64 `json:"fromguid,omitempty"`
	Object      uint64 `json:"object"`
	Offset      int64  `json:"offset"`
	Bytes       int64  `json:"bytes"`
	ToGUID      uint64 `json:"toguid"`
	ToName      string `json:"toname"`
	LargeBlocks bool   `json:"largeblockok,omitempty"`
	Embedded    bool   `json:"embedok,omitempty"`
	Compressed  bool   `json:"compressok,omitempty"`
	Raw         bool   `json:"rawok,omitempty"`
}

// token returns the resume token of a dataset, or "". Nothing received means none.
func (d *dataset) token() string {
	p := d.Partial
	if p == nil || !p.Keep || len(p.Data) == 0 {
		return ""
	}
	object, offset := p.position()
	return tokenData{
		FromGUID: p.Begin.FromGUID, ToGUID: p.Begin.ToGUID, ToName: p.Begin.ToName,
		Object: object, Offset: offset, Bytes: p.Bytes,
		LargeBlocks: p.Begin.has(featLargeBlocks), Embedded: p.Begin.has(featEmbedded),
		Compressed: p.Begin.has(featCompressed), Raw: p.Begin.has(featRaw),
	}.String()
}

// position is where a stream goes on: with the last block that came in, once more.
func (p *partial) position() (object uint64, offset int64) {
	last := p.Data[len(p.Data)-1]
	return last.Object, (last.Offset + last.Size - 1) / blockSize * blockSize
}

// String encodes a token in the outer form of OpenZFS: version, checksum, length, packed content.
func (t tokenData) String() string {
	plain := encode(t)
	var packed bytes.Buffer
	z := zlib.NewWriter(&packed)
	_, _ = z.Write(plain) // into memory
	_ = z.Close()
	return fmt.Sprintf("1-%x-%x-%x", crc32.Checksum(packed.Bytes(), castagnoli), len(plain), packed.Bytes())
}

var errToken = errors.New("invalid format")

func parseToken(text string) (tokenData, error) {
	var t tokenData
	parts := strings.Split(text, "-")
	if len(parts) != 4 || parts[0] != "1" {
		return t, errToken
	}
	sum, err1 := strconv.ParseUint(parts[1], 16, 32)
	n, err2 := strconv.ParseInt(parts[2], 16, 32)
	packed, err3 := hex.DecodeString(parts[3])
	if errors.Join(err1, err2, err3) != nil {
		return t, errToken
	}
	if uint64(crc32.Checksum(packed, castagnoli)) != sum {
		return t, errors.New("incorrect checksum")
	}
	z, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return t, errors.New("decompression failed")
	}
	plain, err := io.ReadAll(io.LimitReader(z, n))
	if err != nil || decode(plain, &t) != nil {
		return t, errors.New("nvlist_unpack failed")
	}
	return t, nil
}

// contents prints a token as zfs send -nvP -t does.
func (t tokenData) contents() string {
	var b strings.Builder
	b.WriteString("resume token contents:\nnvlist version: 0\n")
	if t.FromGUID != 0 {
		fmt.Fprintf(&b, "\tfromguid = %#x\n", t.FromGUID)
	}
	fmt.Fprintf(&b, "\tobject = %#x\n\toffset = %#x\n\tbytes = %#x\n\ttoguid = %#x\n\ttoname = %s\n",
		t.Object, t.Offset, t.Bytes, t.ToGUID, t.ToName)
	for _, f := range []struct {
		name string
		set  bool
	}{{"largeblockok", t.LargeBlocks}, {"embedok", t.Embedded}, {"compressok", t.Compressed}, {"rawok", t.Raw}} {
		if f.set {
			fmt.Fprintf(&b, "\t%s = 1\n", f.name)
		}
	}
	return b.String()
}

// encode returns v as JSON. The types that are given to it always have one.
func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}

func decode(data []byte, v any) error { return json.Unmarshal(data, v) }
