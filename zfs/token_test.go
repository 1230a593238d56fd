package zfs

import (
	"bytes"
	"compress/zlib"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// realToken is one that OpenZFS 2.3.2 made; observedToken is what it then said about one.
const (
	realToken     = "1-948c660cb-b8-789c636064000310a500c4ec50360710e72765a52697303030419460caa7a515a796806464e0f26c48f2499525a9c540da43460eabfe92fcf4d2cc140606477ee6949d31dc191a48f29c60f9bcc4dc5406869cc424fd4487622306240000781212b3"
	observedToken = "resume token contents:\nnvlist version: 0\n\tobject = 0x2\n\toffset = 0x1c0000\n\tbytes = 0x1e1c48\n\ttoguid = 0x680b5cb964030f41\n\ttoname = lab/a@s2\nfull\tlab/a@s2\t3293416\nsize\t3293416\n"
)

func TestToken(t *testing.T) {
	h := New(play(t, call{argv: "zfs send -nvP -t " + realToken, stdout: observedToken}), Options{})
	got, err := h.Token(t.Context(), realToken)
	if err != nil {
		t.Fatal(err)
	}
	want := Token{ToName: "lab/a@s2", ToGUID: 0x680b5cb964030f41, Bytes: 0x1e1c48, Object: 2, Offset: 0x1c0000, Size: 3293416}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// peers.md 6.5: a token is compared with the plan, so every field that the plan looks at must be right or refused.
func TestTokenText(t *testing.T) {
	const head = "resume token contents:\nnvlist version: 0\n"
	const name = "\ttoguid = 0x1\n\ttoname = t/a@s\n"
	tests := []struct {
		name string
		out  string
		want *Token
	}{
		{"flags", head + "\trawok = 1\n\tcompressok = 1\n\tembedok = 1\n\tlargeblockok = 1\n\tfromguid = 0x2\n" + name + "incremental\tr\tt/a@s\t5\nsize\t5\n", &Token{ToName: "t/a@s", ToGUID: 1, FromGUID: 2, Raw: true, Compressed: true, LargeBlocks: true, Embedded: true, Size: 5}},
		{"decimal, other fields, no size", head + "\tsavedok = 1\n\tredact_snaps = 0x1 0x2\n\tbytes = 18446744073709551615\n" + name, &Token{ToName: "t/a@s", ToGUID: 1, Bytes: math.MaxInt64, Size: -1}},
		{"empty line between", head + "\n" + name + "\n", &Token{ToName: "t/a@s", ToGUID: 1, Size: -1}},
		{"name with space", head + "\ttoguid = 0x1\n\ttoname = t/a = b@s 1\n", nil},
		{"no name", head + "\ttoguid = 0x1\n", nil},
		{"no guid", head + "\ttoname = t/a@s\n", nil},
		{"field twice", head + name + "\ttoguid = 0x2\n", nil},
		{"guid too long", head + "\ttoguid = 0x10000000000000000\n\ttoname = t/a@s\n", nil},
		{"no number", head + "\trawok = TRUE\n" + name, nil},
		{"no value", head + "\trawok\n" + name, nil},
		{"bad name", head + "\ttoguid = 0x1\n\ttoname = -t/a@s\n", nil},
		{"nothing", "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseToken(tt.out)
			if tt.want == nil {
				if !errors.Is(err, ErrTokenCorrupt) {
					t.Errorf("got %+v, %v", got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(*tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTokenRefusals(t *testing.T) {
	for _, tt := range []struct {
		name   string
		stderr string
		kind   error
	}{
		{"stale", "cannot resume send: 'lab/t@1' used in the initial send no longer exists\n", ErrTokenStale},
		{"base gone", "cannot resume send: incremental source 0x2 no longer exists\n", ErrTokenStale},
		{"corrupt", "cannot resume send: resume token is corrupt (invalid format)\n", ErrTokenCorrupt},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New(answer{stdout: observedToken, stderr: tt.stderr, err: exitStatus(255)}, Options{}).Token(t.Context(), "1-nonsense-0-0")
			if !errors.Is(err, tt.kind) {
				t.Errorf("got %v", err)
			}
		})
	}
	h := New(play(t), Options{})
	for _, token := range []string{"", "-t", "1 2", "1-a-b-c;reboot", "1-a\n"} {
		if _, err := h.Token(t.Context(), token); !errors.Is(err, ErrTokenCorrupt) {
			t.Errorf("Token %q: %v", token, err)
		}
		if err := h.Send(t.Context(), []Send{{Token: token}}, nil, nil); token != "" && !errors.Is(err, ErrTokenCorrupt) {
			t.Errorf("Send %q: %v", token, err)
		}
	}
}

// pack makes a token of any content.
func pack(t *testing.T, data string) string {
	t.Helper()
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	if _, err := z.Write([]byte(data)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("1-0-%x-%s", len(data), hex.EncodeToString(b.Bytes()))
}

// A receiver that makes its own tokens must not be able to pass off a plain stream of encrypted data as a raw one.
func TestForgedTokens(t *testing.T) {
	for name, token := range map[string]string{
		"raw":   pack(t, "\x01\x00toname\x00t/a@s\n\trawok = 1\x00"),
		"guid":  pack(t, "t/a@s\n\ttoguid = 0x1"),
		"size":  pack(t, "t/a@s\nsize\t0\n"),
		"large": pack(t, strings.Repeat("x", 1<<20)),
		"cut":   strings.TrimSuffix(pack(t, "t/a@s\n\trawok = 1"+strings.Repeat("\x00", 4096)), "00000001"),
	} {
		if _, err := New(play(t), Options{}).Token(t.Context(), token); !errors.Is(err, ErrTokenCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, token := range map[string]string{
		"real":        realToken,
		"not packed":  "1-nonsense-0-0",
		"odd":         "1-0-0-789",
		"plain":       pack(t, "\x01\x00\ntoname\x00t/a@s\x00\n\tx"),
		"nothing":     "1",
		"upper case ": strings.ToUpper(realToken),
	} {
		if forged(token) {
			t.Errorf("%s: taken for forged", name)
		}
	}
}

// printToken prints a token as zfs send -nvP -t does.
func printToken(tok Token) string {
	var b strings.Builder
	b.WriteString("resume token contents:\nnvlist version: 0\n")
	field := func(name string, n uint64, format string) {
		if n != 0 {
			fmt.Fprintf(&b, "\t%s = "+format+"\n", name, n)
		}
	}
	flag := map[bool]uint64{true: 1}
	field("fromguid", tok.FromGUID, "%#x")
	field("object", tok.Object, "%#x")
	field("offset", tok.Offset, "%#x")
	field("bytes", uint64(tok.Bytes), "%#x")
	fmt.Fprintf(&b, "\ttoguid = %#x\n\ttoname = %s\n", tok.ToGUID, tok.ToName)
	field("rawok", flag[tok.Raw], "%d")
	field("compressok", flag[tok.Compressed], "%d")
	field("largeblockok", flag[tok.LargeBlocks], "%d")
	field("embedok", flag[tok.Embedded], "%d")
	if tok.Size >= 0 {
		fmt.Fprintf(&b, "full\t%s\t%d\nsize\t%d\n", tok.ToName, tok.Size, tok.Size)
	}
	return b.String()
}

func TestTokenRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Token{
			ToName:   "lab/" + component.Draw(t, "dataset") + "@" + component.Draw(t, "name"),
			ToGUID:   rapid.Uint64().Draw(t, "toguid"),
			FromGUID: rapid.Uint64().Draw(t, "fromguid"),
			Bytes:    rapid.Int64Min(0).Draw(t, "bytes"),
			Object:   rapid.Uint64().Draw(t, "object"),
			Offset:   rapid.Uint64().Draw(t, "offset"),
			Raw:      rapid.Bool().Draw(t, "raw"), Compressed: rapid.Bool().Draw(t, "compressed"),
			LargeBlocks: rapid.Bool().Draw(t, "large"), Embedded: rapid.Bool().Draw(t, "embedded"),
			Size: rapid.Int64Range(-1, 1<<50).Draw(t, "size"),
		}
		got, err := parseToken(printToken(want))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// FuzzToken: what is taken for a token names a snapshot, and prints as the same token.
func FuzzToken(f *testing.F) {
	f.Add(observedToken)
	f.Add("resume token contents:\nnvlist version: 0\n\trawok = 1\n\ttoguid = 0x1\n\ttoname = t/a@s\n")
	f.Add("\ttoname = t/a@s\n\ttoguid = 0xffffffffffffffff\n\tbytes = 0xffffffffffffffff\nsize\t18446744073709551610\n")
	f.Fuzz(func(t *testing.T, out string) {
		tok, err := parseToken(out)
		if err != nil {
			return
		}
		if ValidSnapshotName(tok.ToName) != nil || tok.Bytes < 0 || tok.Size < -1 {
			t.Fatalf("%q: %+v", out, tok)
		}
		again, err := parseToken(printToken(tok))
		if err != nil || tok != again {
			t.Errorf("%+v prints as %+v, %v", tok, again, err)
		}
	})
}
