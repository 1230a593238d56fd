package zfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestSendArguments(t *testing.T) {
	tests := []struct {
		name string
		send Send
		want string // "" for refused
	}{
		{"full", Send{Snapshot: "t/a@1"}, "t/a@1"},
		{"flags", Send{Snapshot: "t/a@1", LargeBlocks: true, Compressed: true, Raw: true}, "-L -c -w t/a@1"},
		{"incremental", Send{Snapshot: "t/a@2", From: "@1", Compressed: true}, "-c -i t/a@1 t/a@2"},
		{"full name of base", Send{Snapshot: "t/a@2", From: "t/a@1"}, "-i t/a@1 t/a@2"},
		{"from bookmark", Send{Snapshot: "t/a@2", From: "#b"}, "-i t/a#b t/a@2"},
		{"several", Send{Snapshot: "t/a@3", From: "@1", Intermediates: true}, "-I t/a@1 t/a@3"},
		{"resume", Send{Token: "1-abc-d8-78", Snapshot: "-", Raw: true}, "-t 1-abc-d8-78"},
		{"several from bookmark", Send{Snapshot: "t/a@3", From: "#b", Intermediates: true}, ""},
		{"several from nothing", Send{Snapshot: "t/a@3", Intermediates: true}, ""},
		{"base of another dataset", Send{Snapshot: "t/a@3", From: "t/b@1"}, ""},
		{"bare base", Send{Snapshot: "t/a@3", From: "1"}, ""},
		{"base with two names", Send{Snapshot: "t/a@3", From: "@1@2"}, ""},
		{"no snapshot", Send{Snapshot: "t/a"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args, err := tt.send.args()
			if got := strings.Join(args, " "); err == nil && got != tt.want || (err == nil) == (tt.want == "") {
				t.Errorf("got %q, %v", got, err)
			}
			if err != nil && !errors.Is(err, ErrName) {
				t.Error(err)
			}
		})
	}
}

func TestReceiveArguments(t *testing.T) {
	tests := []struct {
		name    string
		receive Receive
		want    string
	}{
		{"plain", Receive{Dataset: "b/a"}, "receive -s -u b/a"},
		{"forced", Receive{Dataset: "b/a", Force: true}, "receive -s -u -F b/a"},
		{
			"properties, in order",
			Receive{Dataset: "b/a", Exclude: []string{"sharesmb", "mountpoint"}, Set: map[string]string{"readonly": "on", "com.example:x": "a b=c", "canmount": "noauto"}},
			"receive -s -u -x mountpoint -x sharesmb -o canmount=noauto -o com.example:x=a b=c -o readonly=on b/a",
		},
	}
	for _, tt := range tests {
		args, err := tt.receive.args()
		if got := strings.Join(args, " "); err != nil || got != tt.want {
			t.Errorf("%s: got %q, %v", tt.name, got, err)
		}
	}
	exclude := []string{"b", "a"}
	if _, err := (Receive{Dataset: "b/a", Exclude: exclude}).args(); err != nil || exclude[0] != "b" {
		t.Errorf("the caller's slice was changed to %v, %v", exclude, err)
	}
}

// decisions.md 23: a full stream and the snapshots after it go over one channel.
func TestSendAndReceiveSeveral(t *testing.T) {
	var pid int
	started := func(p int, _ string) error { pid = p; return nil }
	var out bytes.Buffer
	h := New(play(t, call{argv: "sudo -n zfs send t/a@1 && sudo -n zfs send -I t/a@1 t/a@3", stdout: "stream"}), Options{Sudo: true})
	err := h.Send(t.Context(), []Send{{Snapshot: "t/a@1"}, {Snapshot: "t/a@3", From: "@1", Intermediates: true}}, &out, started)
	if err != nil || out.String() != "stream" || pid != 4711 {
		t.Errorf("sent %q, pid %d, %v", out.String(), pid, err)
	}

	r := play(t, call{argv: "zfs receive -s -u b/a && zfs receive -s -u b/a"})
	warnings, err := New(r, Options{}).Receive(t.Context(), []Receive{{Dataset: "b/a"}, {Dataset: "b/a"}}, strings.NewReader("stream"), nil)
	if err != nil || r.stdin != "stream" || len(warnings) != 0 {
		t.Errorf("received %q, %v, %v", r.stdin, warnings, err)
	}

	if err := New(play(t), Options{}).Send(t.Context(), nil, &out, nil); err != nil {
		t.Errorf("nothing to send: %v", err)
	}
}

// openzfs-observed.md, «recv -o readonly without right»: exit 0, and only a warning tells.
func TestReceiveWarnings(t *testing.T) {
	stderr := "sudo: unable to resolve host nas2: Name or service not known\ncannot receive readonly property on lab2/rep3: permission denied\n\nWarning: lab2/vol2: property 'mountpoint' does not apply to datasets of this type\n"
	warnings, err := New(answer{stderr: stderr}, Options{}).Receive(t.Context(), []Receive{{Dataset: "b/a"}}, strings.NewReader(""), nil)
	want := []string{"cannot receive readonly property on lab2/rep3: permission denied", "Warning: lab2/vol2: property 'mountpoint' does not apply to datasets of this type"}
	if err != nil || !slices.Equal(warnings, want) {
		t.Errorf("got %q, %v", warnings, err)
	}
}

func TestStreamFailures(t *testing.T) {
	h := New(answer{stderr: cut, err: exitStatus(1)}, Options{})
	_, err := h.Receive(t.Context(), []Receive{{Dataset: "lab2/cut"}}, strings.NewReader(""), nil)
	if r, ok := errors.AsType[*ResumableError](err); !ok || r.Token != "1-948c660cb-b8-789c6360" || !errors.Is(err, ErrIncomplete) {
		t.Errorf("cut: %v", err)
	}

	h = New(answer{stderr: "warning: cannot send 'lab/a@s1': permission denied\n", err: exitStatus(1)}, Options{})
	if err := h.Send(t.Context(), []Send{{Snapshot: "lab/a@s1"}}, io.Discard, nil); !errors.Is(err, ErrPermission) {
		t.Errorf("send: %v", err)
	}

	refused := errors.New("record of the process was not written")
	h = New(play(t, call{argv: "zfs send lab/a@s1"}), Options{})
	if err := h.Send(t.Context(), []Send{{Snapshot: "lab/a@s1"}}, io.Discard, func(int, string) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("started: %v", err)
	}
}

// openzfs-observed.md, «Size estimates and tokens», and peers.md 6.4 on what is absurd.
func TestEstimate(t *testing.T) {
	tests := []struct {
		name, out string
		want      int64
	}{
		{"full", "full\tlab/a@s1\t3165104\nsize\t3165104\n", 3165104},
		{"-I", "incremental\ts1\tlab/a@s2\t2109424\nincremental\ts2\tlab/a@s3\t624\nincremental\ts3\tlab/a@s4\t8304\nsize\t2118352\n", 2118352},
		{"names with spaces", "incremental\tlab/a b#b 1\tlab/a b@s 4\t2109936\nsize\t2109936\n", 2109936},
		{"nothing", "full\tlab/a@s1\t0\nsize\t0\n", 0},
		{"absurd", "incremental\tlab/a#b1\tlab/a@s4\t18446744073709551610\nsize\t18446744073709551610\n", -1},
		{"absurd, total wrapped around", "incremental\tr\tt@s\t18446744073709551610\nincremental\ts\tt@u\t700\nsize\t694\n", -1},
		{"beyond uint64", "size\t99999999999999999999\n", -1},
		{"no total", "full\tlab/a@s1\t5\n", -1},
		{"no number", "size\n", -1},
		{"silence", "", -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := New(play(t, call{argv: "zfs send -nvP -L -c -I lab/a@s1 lab/a@s4", stdout: tt.out}), Options{})
			got, err := h.Estimate(t.Context(), Send{Snapshot: "lab/a@s4", From: "@s1", Intermediates: true, LargeBlocks: true, Compressed: true})
			if err != nil || got != tt.want {
				t.Errorf("got %d, %v, want %d", got, err, tt.want)
			}
		})
	}
	h := New(answer{stderr: "warning: cannot send 'lab/a@s1': not an earlier snapshot from the same fs\n", err: exitStatus(1)}, Options{})
	if got, err := h.Estimate(t.Context(), Send{Snapshot: "lab/a@s1", From: "@s4"}); got != -1 || !errors.Is(err, ErrBase) {
		t.Errorf("got %d, %v", got, err)
	}
}

func ExampleHost_Receive() {
	h := New(answer{stderr: "cannot receive readonly property on backup/a: permission denied\n"}, Options{})
	warnings, err := h.Receive(context.Background(), []Receive{{Dataset: "backup/a", Set: map[string]string{"readonly": "on"}}}, strings.NewReader("a stream"), nil)
	fmt.Println(warnings, err)
	// Output: [cannot receive readonly property on backup/a: permission denied] <nil>
}
