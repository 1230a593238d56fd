package fakezfs

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A damaged stream never makes a snapshot that differs from its source.
func TestDamagedStream(t *testing.T) {
	s := New("tank", "backup")
	do(t, s, "zfs create tank/a")
	do(t, s, "zfs fake-write tank/a 200000")
	do(t, s, "zfs snapshot tank/a@1")
	stream, _, err := s.Output(t.Context(), strings.Fields("zfs send tank/a@1"))
	if err != nil {
		t.Fatal(err)
	}
	want := do(t, s, "zfs list -Hp -o guid tank/a@1") + do(t, s, "zfs fake-sum tank/a@1")
	rapid.Check(t, func(rt *rapid.T) {
		damaged := bytes.Clone(stream)
		damaged[rapid.IntRange(0, len(stream)-1).Draw(rt, "at")] ^= byte(1 << rapid.IntRange(0, 7).Draw(rt, "bit"))
		argv := []string{"zfs", "receive", "-s", "-e", "backup"}
		code := s.Run(t.Context(), argv, bytes.NewReader(damaged), nil, nil)
		names, _ := s.Do("zfs list -H -o name -t snapshot -r backup")
		for n := range strings.FieldsSeq(names) {
			if got := do(t, s, "zfs list -Hp -o guid "+n) + do(t, s, "zfs fake-sum "+n); got != want {
				rt.Fatalf("exit code %d, and %s differs", code, n)
			}
		}
		if _, err := s.Do("zfs destroy -r backup"); err == nil {
			rt.Fatal("a pool was destroyed")
		}
		for n := range strings.FieldsSeq(do(t, s, "zfs list -H -o name -r -t filesystem,volume backup")) {
			if n != "backup" {
				_, _ = s.Do("zfs destroy -r " + n)
			}
		}
	})
}
