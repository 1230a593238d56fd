package zfs

import (
	"context"
	"fmt"
	"math"
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
	var n uint64
	switch name {
	case "toname":
		t.ToName = value
		return ValidSnapshotName(value) == nil
	case "toguid", "fromguid", "bytes", "object", "offset", "rawok", "compressok", "largeblockok", "embedok":
		var err error
		if n, err = strconv.ParseUint(value, 0, 64); err != nil {
			return false
		}
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
