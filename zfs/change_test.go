package zfs

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestChanges(t *testing.T) {
	version := call{argv: "zfs version", stdout: "zfs-2.3.2-1\nzfs-kmod-2.3.2-1\n"}
	props := map[string]string{"readonly": "on", "canmount": "off", "com.example:x": "a b"}
	tests := []struct {
		name  string
		calls []call
		do    func(ctx context.Context, h *Host) error
	}{
		{"abort", []call{{argv: "zfs receive -A t/a"}}, func(ctx context.Context, h *Host) error { return h.AbortReceive(ctx, "t/a") }},
		{"snapshot", []call{{argv: "zfs snapshot t/a@1 t/b@1"}}, func(ctx context.Context, h *Host) error { return h.Snapshot(ctx, "t/a@1", "t/b@1") }},
		{"no snapshot", nil, func(ctx context.Context, h *Host) error { return h.Snapshot(ctx) }},
		{"create", []call{version, {argv: "zfs create -p -u -o canmount=off -o com.example:x=a b -o readonly=on t/a/b"}}, func(ctx context.Context, h *Host) error { return h.Create(ctx, "t/a/b", props) }},
		{"create, old", []call{{argv: "zfs version", stdout: "zfs-0.8.3-1ubuntu12\n"}, {argv: "zfs create -p t/a"}}, func(ctx context.Context, h *Host) error { return h.Create(ctx, "t/a", nil) }},
		{
			"create, old, as a user",
			[]call{{argv: "zfs version", err: exitStatus(1)}, {argv: "zfs create -p t/a", stderr: "filesystem successfully created, but it may only be mounted by root\n", err: exitStatus(1)}},
			func(ctx context.Context, h *Host) error { return h.Create(ctx, "t/a", nil) },
		},
		{"set", []call{{argv: "zfs set canmount=off com.example:x=a b readonly=on t/a"}}, func(ctx context.Context, h *Host) error { return h.Set(ctx, "t/a", props) }},
		{"set nothing", nil, func(ctx context.Context, h *Host) error { return h.Set(ctx, "t/a", nil) }},
		{"hold", []call{{argv: "zfs hold zferry:1 t/a@1 t/b@1"}}, func(ctx context.Context, h *Host) error { return h.Hold(ctx, "zferry:1", "t/a@1", "t/b@1") }},
		{"hold nothing", nil, func(ctx context.Context, h *Host) error { return h.Hold(ctx, "zferry:1") }},
		{"release", []call{{argv: "zfs release zferry:1 t/a@1"}}, func(ctx context.Context, h *Host) error { return h.Release(ctx, "zferry:1", "t/a@1") }},
		{"bookmark", []call{{argv: "zfs bookmark t/a@1 t/a#1"}}, func(ctx context.Context, h *Host) error { return h.Bookmark(ctx, "t/a@1", "t/a#1") }},
		{"rollback", []call{{argv: "zfs rollback t/a@1"}}, func(ctx context.Context, h *Host) error { return h.Rollback(ctx, "t/a@1") }},
		{"destroy a dataset", []call{{argv: "zfs destroy t/a"}}, func(ctx context.Context, h *Host) error { return h.Destroy(ctx, "t/a") }},
		{"destroy a bookmark", []call{{argv: "zfs destroy t/a#1"}}, func(ctx context.Context, h *Host) error { return h.Destroy(ctx, "t/a#1") }},
		{"destroy snapshots", []call{{argv: "zfs destroy t/a@1,b,c"}}, func(ctx context.Context, h *Host) error { return h.Destroy(ctx, "t/a@1,b,c") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.do(t.Context(), New(play(t, tt.calls...), Options{})); err != nil {
				t.Error(err)
			}
		})
	}
}

// A name with spaces in a list of snapshots must be one argument.
func TestDestroyIsOneArgument(t *testing.T) {
	var got []string
	h := New(recorder{&got}, Options{})
	if err := h.Destroy(t.Context(), "t/a b@1,c d"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"zfs", "destroy", "t/a b@1,c d"}, got); diff != "" {
		t.Error(diff)
	}
}

// recorder notes the last command.
type recorder struct{ argv *[]string }

func (r recorder) Output(_ context.Context, argv []string) ([]byte, string, error) {
	*r.argv = argv
	return nil, "", nil
}

func (r recorder) Stream(context.Context, [][]string, io.Reader, io.Writer, func(int, string) error) (string, error) {
	return "", nil
}

func TestGet(t *testing.T) {
	const argv = "zfs get -Hp -o property,value used,com.example:x,origin t/a"
	tests := []struct {
		name, out string
		want      map[string]string // nil for refused
	}{
		{"plain", "used\t5\ncom.example:x\t-\norigin\t-\n", map[string]string{"used": "5", "com.example:x": "-", "origin": "-"}},
		{"tabs and lines", "used\t5\ncom.example:x\ta\tb\nused\t6\norigin\nc\norigin\t\n", map[string]string{"used": "5", "com.example:x": "a\tb\nused\t6\norigin\nc", "origin": ""}},
		{"noise", "hello\nused\t5\ncom.example:x\t-\norigin\t-\n", nil},
		{"one missing", "used\t5\ncom.example:x\t-\n", nil},
		{"nothing", "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := New(play(t, call{argv: argv, stdout: tt.out}), Options{}).Get(t.Context(), "t/a", "used", "com.example:x", "origin")
			if tt.want == nil {
				if !errors.Is(err, ErrOutput) {
					t.Errorf("got %q, %v", got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if got, err := New(play(t), Options{}).Get(t.Context(), "t/a"); err != nil || len(got) != 0 {
		t.Errorf("nothing: %v, %v", got, err)
	}
	h := New(play(t, call{argv: "zfs get -Hp -o property,value used t/a", stderr: "cannot open 't/a': dataset does not exist", err: exitStatus(1)}), Options{})
	if _, err := h.Get(t.Context(), "t/a", "used"); !errors.Is(err, ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}

// A filesystem that could not be mounted is there all the same; every other failure is one.
func TestCreateMounted(t *testing.T) {
	var argv []string
	if err := New(recorder{&argv}, Options{}).CreateMounted(t.Context(), "lab/a/b"); err != nil || !slices.Equal(argv, []string{"zfs", "create", "-p", "lab/a/b"}) {
		t.Errorf("%q, %v", argv, err)
	}
	if err := New(answer{}, Options{}).CreateMounted(t.Context(), "-x"); !errors.Is(err, ErrName) {
		t.Errorf("a bad name: %v", err)
	}
}
