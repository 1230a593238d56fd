package zfs

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// decisions.md 20: the limits are held before anything is sent.
func TestNames(t *testing.T) {
	deep := "p" + strings.Repeat("/x", maxDepth-1)
	long := "p/" + strings.Repeat("x", maxName-2)
	tests := []struct {
		name    string
		dataset bool // valid as a dataset
	}{
		{"tank", true},
		{"tank/a b/c.d_e:f-g", true},
		{"tank/-a", true},
		{deep, true},
		{deep + "/x", false},
		{long, true},
		{long + "x", false},
		{"", false},
		{"-r", false},
		{"-tank/a", false},
		{"1tank", false},
		{"/tank", false},
		{"tank/", false},
		{"tank//a", false},
		{"tank/.", false},
		{"tank/../a", false},
		{"tank/%recv", false},
		{"tank/a@s", false},
		{"tank/a#b", false},
		{"tank/ü", false},
		{"tank/a\tb", false},
		{"tank/a\n", false},
		{"tank/a\x00", false},
		{"tank/a,b", false},
	}
	for _, tt := range tests {
		if err := ValidName(tt.name); (err == nil) != tt.dataset || err != nil && !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", tt.name, err)
		}
		if err := ValidSnapshotName(tt.name + "@s"); err == nil != (tt.dataset && len(tt.name)+2 <= maxName) {
			t.Errorf("%q@s: %v", tt.name, err)
		}
	}
	for _, name := range []string{"tank/a", "tank/a@", "@s", "tank/a@s@t", "tank/a#s", "tank/a@s#t", "tank/a@s/t", "tank/a@s%t", "tank/a@s,t", "tank/a@.."} {
		if err := ValidSnapshotName(name); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// No method runs anything for a name that zfs could take for something else.
func TestNamesAreRefusedBeforeACommandStarts(t *testing.T) {
	h := New(play(t), Options{})
	ctx := t.Context()
	bad := func(name string) map[string]error {
		errs := make(map[string]error)
		_, errs["Datasets"] = h.Datasets(ctx, name, true)
		_, errs["Ancestors"] = h.Ancestors(ctx, name)
		_, errs["Snapshots"] = h.Snapshots(ctx, name, true)
		_, errs["Get"] = h.Get(ctx, name, "used")
		_, errs["Get property"] = h.Get(ctx, "t/a", name)
		_, errs["Estimate"] = h.Estimate(ctx, Send{Snapshot: name})
		errs["Send"] = h.Send(ctx, []Send{{Snapshot: name}}, nil, nil)
		_, errs["Receive"] = h.Receive(ctx, []Receive{{Dataset: name}}, nil, nil)
		_, errs["Receive -x"] = h.Receive(ctx, []Receive{{Dataset: "t/a", Exclude: []string{name}}}, nil, nil)
		_, errs["Receive -o"] = h.Receive(ctx, []Receive{{Dataset: "t/a", Set: map[string]string{name: "on"}}}, nil, nil)
		errs["AbortReceive"] = h.AbortReceive(ctx, name)
		errs["Snapshot"] = h.Snapshot(ctx, "t/a@1", name)
		errs["Create"] = h.Create(ctx, name, nil)
		errs["Create -o"] = h.Create(ctx, "t/a", map[string]string{name: "x"})
		errs["Set"] = h.Set(ctx, name, map[string]string{"readonly": "on"})
		errs["Set property"] = h.Set(ctx, "t/a", map[string]string{name: "on"})
		errs["Hold"] = h.Hold(ctx, "tag", "t/a@1", name)
		errs["Hold tag"] = h.Hold(ctx, name, "t/a@1")
		errs["Release"] = h.Release(ctx, "tag", name)
		errs["Bookmark"] = h.Bookmark(ctx, name, "t/a#b")
		errs["Bookmark mark"] = h.Bookmark(ctx, "t/a@1", name)
		errs["Rollback"] = h.Rollback(ctx, name)
		errs["Destroy"] = h.Destroy(ctx, name)
		return errs
	}
	for _, name := range []string{"", "-r", "-rf@x", "\x01"} {
		for method, err := range bad(name) {
			if !errors.Is(err, ErrName) {
				t.Errorf("%s %q: %v", method, name, err)
			}
		}
	}
	for what, err := range map[string]error{
		"range":          h.Destroy(ctx, "t/a@1%3"),
		"empty in list":  h.Destroy(ctx, "t/a@1,,3"),
		"none in list":   h.Destroy(ctx, "t/a@"),
		"list of marks":  h.Destroy(ctx, "t/a#1,2"),
		"zero byte":      h.Set(ctx, "t/a", map[string]string{"x:y": "a\x00b"}),
		"two properties": h.Set(ctx, "t/a", map[string]string{"a=b c": "d"}),
		"temporary tag":  h.Hold(ctx, ".send-1", "t/a@1"),
		"several values": errOf(h.Get(ctx, "t/a", "used,name")),
	} {
		if !errors.Is(err, ErrName) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func errOf[T any](_ T, err error) error { return err }

func TestValidNamesTakeApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anySnapshot.Draw(t, "snapshot")
		full := s.String()
		if err := validName(full, "@#"); err != nil {
			t.Fatal(err)
		}
		dataset, name, bookmark, ok := splitName(full)
		if !ok || dataset != s.Dataset || name != s.Name || bookmark != s.Bookmark {
			t.Fatalf("%q taken apart as %q %q %v %v", full, dataset, name, bookmark, ok)
		}
	})
}
