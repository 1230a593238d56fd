package zfs

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const usage = "usage:\n\tsnapshot [-r] [-o property=value] ... <filesystem|volume>@<snap> ...\n\nFor the property list, run: zfs set|get\n"

const cut = "cannot receive new filesystem stream: checksum mismatch or incomplete stream.\nPartially received snapshot is saved.\nA resuming stream can be generated on the sending system by running:\n    zfs send -t 1-948c660cb-b8-789c6360\n"

// What OpenZFS 2.3.2 was seen to write, in the order of openzfs-observed.md.
var observed = []struct {
	name   string
	stderr string
	kind   error // nil: not a kind of ours
}{
	{"missing dataset", "cannot open 'lab/none': dataset does not exist", ErrNotExist},
	{"missing pool", "cannot open 'nopool/x': dataset does not exist", ErrNotExist},
	{"bad name", "cannot open 'lab/a b*': invalid character '*' in name", nil},
	{"-I from bookmark", "Error: multiple snapshots cannot be sent from a bookmark.", ErrBase},
	{"missing snapshot", "cannot open 'lab/a@none': dataset does not exist", ErrNotExist},
	{"incremental source later", "warning: cannot send 'lab/a@s1': not an earlier snapshot from the same fs", ErrBase},
	{"full into existing without -F", "cannot receive new filesystem stream: destination 'lab2/cat' exists\nmust specify -F to overwrite it", ErrExist},
	{"full into existing with -F", "cannot receive new filesystem stream: destination has snapshots (eg. lab2/cat@s1)\nmust destroy them to overwrite it", ErrExist},
	{"incremental, base missing", "cannot receive incremental stream: most recent snapshot of lab2/e1 does not\nmatch incremental source", ErrNoMatch},
	{"incremental into missing dataset", "cannot receive incremental stream: destination 'lab2/e2' does not exist", ErrNotExist},
	{"parent missing", "cannot open 'lab2/no': dataset does not exist\ncannot receive new filesystem stream: unable to restore to destination", ErrNotExist},
	{"target modified", "cannot receive incremental stream: destination lab2/m has been modified\nsince most recent snapshot", ErrModified},
	{"garbage, empty stream", "cannot receive: failed to read from stream", ErrIncomplete},
	{"cut stream, resumable", cut, ErrIncomplete},
	{"abort partial", "'lab2/cut' does not have any resumable receive state to abort", ErrNoState},
	{"stale token: source snapshot gone", "cannot resume send: 'lab/t@1' used in the initial send no longer exists", ErrTokenStale},
	{"corrupt token", "cannot resume send: resume token is corrupt (invalid format)", ErrTokenCorrupt},
	{"property that the type lacks", "cannot receive new filesystem stream: property 'mountpoint' does not apply to datasets of this type", ErrProperty},
	{"quota", "cannot receive new filesystem stream: destination lab2/q/x space quota exceeded.", ErrQuota},
	{"-p without raw", "cannot send lab/enc@e1: encrypted dataset lab/enc may not be sent with properties without the raw flag\nwarning: cannot send 'lab/enc@e1': backup failed", ErrEncryption},
	{"non-raw incremental onto raw", "cannot receive incremental stream: inherited key must be loaded", ErrKey},
	{"raw incremental onto plain copy", "cannot receive incremental stream: cannot perform raw receive on top of existing unencrypted dataset", ErrEncryption},
	{"locked source, not raw", "warning: cannot send 'lab/enc@e2': dataset key must be loaded", ErrKey},
	{"hex key of wrong length", "cannot receive new filesystem stream: Hex key too short (expected 64).", ErrKey},
	{"held", "cannot destroy snapshot lab/a@s2: it's being held. Run 'zfs holds -r lab/a@s2' to see holders.", ErrHeld},
	{"cloned", "cannot destroy 'lab/a@s2': snapshot has dependent clones\nuse '-R' to destroy the following datasets:\nlab/cl", ErrHasClones},
	{"destroy missing snapshot", "could not find any snapshots to destroy; check snapshot names.", ErrNotExist},
	{"bookmark exists", "cannot create bookmark 'lab/a#b1': bookmark exists", ErrExist},
	{"hold exists", "cannot hold snapshot 'lab/a@s1': tag already exists on this dataset", ErrExist},
	{"snapshot exists", "cannot create snapshot 'lab/a@s1': dataset already exists", ErrExist},
	{"snapshot of missing dataset", "cannot open 'lab/none': dataset does not exist\n" + usage, ErrNotExist},
	{"several at once, one exists", "cannot create snapshot 'lab/a@s1': dataset already exists\nno snapshots were created", ErrExist},
	{"dataset with children", "cannot destroy 'lab/a': filesystem has children\nuse '-r' to destroy the following datasets:\nlab/a/child@s4\nlab/a/child", ErrHasChildren},
	{"send without rights", "warning: cannot send 'lab/a@s1': permission denied", ErrPermission},
	{"receive without rights", "cannot receive new filesystem stream: permission denied", ErrPermission},
	{"snapshot without rights", "cannot create snapshots : permission denied", ErrPermission},
	{"set readonly without right", "cannot set property for 'lab2/rep2': permission denied", ErrPermission},
	{"destroy without right", "cannot destroy snapshots: permission denied", ErrPermission},
	{"sudo without entry", "sudo: a password is required", ErrSudo},
	{"unknown option", "invalid option 'Z'\n" + usage, ErrUnsupported},
	{"abort at once after kill", "cannot destroy 'lab/k': dataset is busy", ErrBusy},
	{"destroy while being sent", "cannot destroy snapshot lab/a@s4: dataset is busy", ErrBusy},
	{"rollback past newer", "cannot rollback to 'lab/a@s1': more recent snapshots or bookmarks exist\nuse '-r' to force deletion of the following snapshots and bookmarks:\nlab/a@s2", ErrNewer},
	{"full pool", "cannot create snapshots : out of space", ErrNoSpace},
}

// What other releases, systems and versions of sudo write.
var elsewhere = []struct {
	name   string
	stderr string
	kind   error
}{
	{"older pool wording", "cannot open 'nope': no such pool", ErrNotExist},
	{"older rollback", "cannot rollback to 't/a@1': more recent snapshots exist", ErrNewer},
	{"partial state", "cannot receive resume stream: destination t/a contains partially-complete state from \"zfs receive -s\".", ErrPartial},
	{"resume onto existing", "cannot receive resume stream: Resuming recv on existing destination 't/a'\nmust specify -F to overwrite it", ErrExist},
	{"snapshot replaced", "cannot resume send: 't/a@1' is no longer the same snapshot used in the initial send", ErrTokenStale},
	{"incremental source of token gone", "cannot resume send: incremental source 0xa000000000000000 no longer exists", ErrTokenStale},
	{"large blocks", "cannot receive incremental stream: incremental send stream requires -L (--large-block), to match previous receive.", ErrLargeBlocks},
	{"IV set", "cannot receive incremental stream: IV set guid mismatch. See the 'zfs receive' man page section\n discussing the limitations of raw encrypted send streams.", ErrEncryption},
	{"old kernel", "cannot receive new filesystem stream: kernel modules must be upgraded to receive this stream.", ErrUnsupported},
	{"old pool", "cannot receive new filesystem stream: pool must be upgraded to receive this stream.", ErrUnsupported},
	{"suspended", "cannot open 't': pool I/O is currently suspended", ErrIO},
	{"damaged", "warning: cannot send 't/a@1': I/O error", ErrIO},
	{"tag not there", "cannot release hold from snapshot 't/a@1': no such tag on this dataset", ErrNotExist},
	{"umount", "cannot unmount '/t/a': pool or dataset is busy", ErrBusy},
	{"no module", "The ZFS modules cannot be auto-loaded.\nTry running 'modprobe zfs' as root to manually load them.", ErrNoModule},
	{"no device", "/dev/zfs and /proc/self/mounts are required.\nTry running 'udevadm trigger' and 'mount -t proc proc /proc' as root.", ErrNoModule},
	{"unknown column", "bad property list: invalid property 'snapshots_changed'\n" + usage, ErrProperty},
	{"sudo terminal", "sudo: a terminal is required to read the password; either use the -S option to read from standard input", ErrSudo},
	{"sudo-rs", "sudo: interactive authentication is required", ErrSudo},
	{"no sudoers entry", "rep is not in the sudoers file.", ErrSudo},
	{"sudo of other commands", "Sorry, user rep is not allowed to execute '/usr/sbin/zfs list' as root on nas2.", ErrSudo},
	{"sudo finds no zfs", "sudo: zfs: command not found", ErrNoZFS},
	{"no sudo", "bash: line 1: sudo: command not found", ErrSudo},
	{"unknown words", "internal error: Oops", nil},
	{"nothing", "", nil},
	{
		"a property's warning before the failure", "cannot receive readonly property on t/a: permission denied\n" +
			"cannot receive incremental stream: destination t/a has been modified\nsince most recent snapshot", ErrModified,
	},
	{"only a warning", "cannot receive readonly property on t/a: permission denied", ErrPermission},
}

func TestKindsOfObservedWording(t *testing.T) {
	for _, tt := range append(slices.Clone(observed), elsewhere...) {
		t.Run(tt.name, func(t *testing.T) {
			exit := exitStatus(1)
			h := New(play(t), Options{Sudo: strings.Contains(tt.stderr, "sudo")})
			err := h.failure(t.Context(), []string{"receive", "t"}, tt.stderr, exit)
			if !errors.Is(err, exit) {
				t.Errorf("%v does not wrap the exit error", err)
			}
			e, ok := errors.AsType[*Error](err)
			if !ok {
				t.Fatalf("%T is no *Error", err)
			}
			if !errors.Is(e.Kind, tt.kind) {
				t.Errorf("kind %v, want %v", e.Kind, tt.kind)
			}
			for _, k := range kinds {
				if got, want := errors.Is(err, k.kind), errors.Is(tt.kind, k.kind); got != want {
					t.Errorf("errors.Is(err, %v) = %v, want %v", k.kind, got, want)
				}
			}
			r, resumable := errors.AsType[*ResumableError](err)
			if resumable != (tt.stderr == cut) || resumable && r.Token != "1-948c660cb-b8-789c6360" {
				t.Errorf("resumable %+v", r)
			}
		})
	}
}

// A fragment of one word could be the name of a dataset, one in capitals would never match, and one that contains an
// earlier one is never reached.
func TestKindsAreReachable(t *testing.T) {
	for i, k := range kinds {
		if k.fragment != strings.ToLower(k.fragment) {
			t.Errorf("%q is not in lower case", k.fragment)
		}
		if !strings.Contains(k.fragment, " ") {
			t.Errorf("%q could be a name", k.fragment)
		}
		for _, before := range kinds[:i] {
			if strings.Contains(k.fragment, before.fragment) {
				t.Errorf("%q is hidden by %q", k.fragment, before.fragment)
			}
		}
	}
}

func TestErrorText(t *testing.T) {
	lost := errors.New("connection to nas2 lost")
	tests := []struct {
		name    string
		options Options
		stderr  string
		err     error
		want    string
	}{
		{name: "one line of two", stderr: observed[8].stderr, err: exitStatus(1), want: "zfs list: cannot receive incremental stream: most recent snapshot of lab2/e1 does not match incremental source"},
		{name: "no usage", stderr: "cannot open 'lab/none': dataset does not exist\n" + usage, err: exitStatus(2), want: "zfs list: cannot open 'lab/none': dataset does not exist"},
		{name: "no token", stderr: cut, err: exitStatus(1), want: "zfs list: cannot receive new filesystem stream: checksum mismatch or incomplete stream. Partially received snapshot is saved."},
		{name: "silent", err: exitStatus(1), want: "zfs list: exit status 1"},
		{name: "lost", err: lost, want: "zfs list: connection to nas2 lost"},
		{name: "lost in mid-sentence", stderr: "cannot rec", err: lost, want: "zfs list: connection to nas2 lost: cannot rec"},
		{
			name: "sudo", options: Options{Sudo: true}, stderr: "sudo: a password is required", err: exitStatus(1),
			want: "zfs list: sudo: a password is required (it takes a line in sudoers there: USER ALL=(root) NOPASSWD: /usr/sbin/zfs)",
		},
		{
			name: "sudo, zfs elsewhere", options: Options{Sudo: true, Path: "/sbin/zfs"}, stderr: "sudo: a password is required", err: exitStatus(1),
			want: "zfs list: sudo: a password is required (it takes a line in sudoers there: USER ALL=(root) NOPASSWD: /sbin/zfs)",
		},
		{
			name: "no zfs here", err: &exec.Error{Name: "zfs", Err: exec.ErrNotFound},
			want: `zfs list: exec: "zfs": executable file not found in $PATH (zfs was not found on that system, in the PATH of its user or in /usr/local/sbin, /usr/sbin, /sbin, /usr/local/bin)`,
		},
		{
			name: "no zfs there", stderr: "sh: 1: exec: zfs: not found", err: exitStatus(127),
			want: "zfs list: sh: 1: exec: zfs: not found (zfs was not found on that system, in the PATH of its user or in /usr/local/sbin, /usr/sbin, /sbin, /usr/local/bin)",
		},
		{
			name: "no zfs for sudo", options: Options{Sudo: true}, stderr: "sudo: zfs: command not found", err: exitStatus(1),
			want: "zfs list: sudo: zfs: command not found (zfs was not found on that system in the secure_path of sudo)",
		},
		{
			name: "no sudo there", options: Options{Sudo: true}, stderr: "sh: 1: exec: sudo: not found", err: exitStatus(127),
			want: "zfs list: sh: 1: exec: sudo: not found (sudo was not found on that system, in the PATH of its user or in /usr/local/sbin, /usr/sbin, /sbin, /usr/local/bin)",
		},
		{
			name: "no sudo here", options: Options{Sudo: true}, err: &exec.Error{Name: "sudo", Err: exec.ErrNotFound},
			want: `zfs list: exec: "sudo": executable file not found in $PATH (sudo was not found on that system, in the PATH of its user or in /usr/local/sbin, /usr/sbin, /sbin, /usr/local/bin)`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := New(play(t), tt.options).failure(t.Context(), []string{"list"}, tt.stderr, tt.err)
			if err.Error() != tt.want {
				t.Errorf("got  %s\nwant %s", err, tt.want)
			}
			wantKind := map[bool]error{true: ErrNoZFS}[strings.HasPrefix(tt.name, "no zfs ")]
			if strings.Contains(tt.name, "no sudo") {
				wantKind = ErrSudo
			}
			if wantKind != nil && !errors.Is(err, wantKind) {
				t.Errorf("%v is not %v", err, wantKind)
			}
		})
	}
}

// A dataset may be called like an error: names hold spaces.
func TestNamesAreNotWording(t *testing.T) {
	const name = "t/permission denied"
	h := New(play(t), Options{})
	err := h.failure(t.Context(), []string{"destroy", name + "@out of space"}, "cannot destroy '"+name+"@out of space': odd thing in "+name, exitStatus(1))
	for _, k := range kinds {
		if errors.Is(err, k.kind) {
			t.Errorf("%v is taken for %v", err, k.kind)
		}
	}
}

// The cause of the end of the context wins over what the command said while it was being ended.
func TestCauseWins(t *testing.T) {
	aborted := errors.New("run aborted")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(aborted)
	h := New(play(t, call{argv: "zfs destroy t/a", stderr: "cannot destroy 't/a': dataset is busy", err: exitStatus(1)}), Options{})
	err := h.Destroy(ctx, "t/a")
	if !errors.Is(err, aborted) || errors.Is(err, ErrBusy) {
		t.Errorf("got %v", err)
	}
	if got, want := err.Error(), "zfs destroy: run aborted"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func ExampleError() {
	h := New(answer{stderr: "cannot open 'tank/x': dataset does not exist\n", err: exitStatus(1)}, Options{})
	_, err := h.Snapshots(context.Background(), "tank/x", true)
	fmt.Println(err)
	fmt.Println(errors.Is(err, ErrNotExist))
	// Output:
	// zfs list: cannot open 'tank/x': dataset does not exist
	// true
}
