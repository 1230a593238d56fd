package zfs

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Token asks what a resume token stands for. The token comes from the receiving side, which may be hostile: compare what
// it says with what you mean to send before you send it. A token whose snapshot is gone is ErrTokenStale, one that makes
// no sense ErrTokenCorrupt.
func (h *Host) Token(ctx context.Context, token string) (Token, error) {
	if err := validToken(token); err != nil {
		return Token{}, err
	}
	if forged(token) {
		return Token{}, fmt.Errorf("%w: a line of text hides in it", ErrTokenCorrupt)
	}
	out, err := h.run(ctx, "send", "-nvP", "-t", token)
	if err != nil {
		return Token{}, err
	}
	return parseToken(out)
}

func validToken(token string) error {
	if token == "" || token[0] == '-' || strings.ContainsFunc(token, notToken) {
		return fmt.Errorf("%w: %q", ErrTokenCorrupt, token)
	}
	return nil
}

// tokenFields are the fields that parseToken reads.
var tokenFields = []string{
	"toname", "toguid", "fromguid", "bytes", "object", "offset", "rawok", "compressok", "largeblockok", "embedok",
}

// forged tells whether a string inside the token would print as a line of its own. zfs prints names as they are and finds
// the snapshot by its GUID, so that a name that holds "\n\trawok = 1" would make a plain stream look like a raw one. A
// token is version, checksum, length and, in hexadecimal, compressed data; one that is not is left to zfs to refuse.
func forged(token string) bool {
	packed, _ := hex.DecodeString(token[strings.LastIndexByte(token, '-')+1:])
	z, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return false
	}
	const most = 1 << 20
	// What was read before an error counts too: zfs may be less strict.
	data, _ := io.ReadAll(io.LimitReader(z, most))
	if len(data) == most {
		return true
	}
	for _, f := range tokenFields {
		if bytes.Contains(data, []byte("\n\t"+f+" = ")) {
			return true
		}
	}
	for _, f := range []string{"full", "incremental", "size"} {
		if bytes.Contains(data, []byte("\n"+f+"\t")) {
			return true
		}
	}
	return false
}

func notToken(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-')
}

// parseToken reads what zfs send -nvP -t prints: the fields, indented by a tab, then the lines of an estimate.
func parseToken(out string) (Token, error) {
	t := Token{Size: parseEstimate(out)}
	seen := make(map[string]bool)
	for _, line := range lines(out) {
		field, ok := strings.CutPrefix(line, "\t")
		if !ok {
			continue
		}
		name, value, ok := strings.Cut(field, " = ")
		if !ok || seen[name] || !t.set(name, value) {
			return Token{}, fmt.Errorf("%w: %q", ErrTokenCorrupt, field)
		}
		seen[name] = true
	}
	if !seen["toguid"] || !seen["toname"] {
		return Token{}, fmt.Errorf("%w: it names no snapshot", ErrTokenCorrupt)
	}
	return t, nil
}

// set notes one field; a field of no interest is fine.
func (t *Token) set(name, value string) bool {
	if name == "toname" {
		t.ToName = value
		return ValidSnapshotName(value) == nil
	}
	if !slices.Contains(tokenFields, name) {
		return true
	}
	n, err := strconv.ParseUint(value, 0, 64)
	if err != nil {
		return false
	}
	switch name {
	case "toguid":
		t.ToGUID = n
	case "fromguid":
		t.FromGUID = n
	case "bytes":
		t.Bytes = int64(min(n, math.MaxInt64))
	case "object":
		t.Object = n
	case "offset":
		t.Offset = n
	case "rawok":
		t.Raw = n != 0
	case "compressok":
		t.Compressed = n != 0
	case "largeblockok":
		t.LargeBlocks = n != 0
	case "embedok":
		t.Embedded = n != 0
	}
	return true
}
