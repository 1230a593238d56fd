package fakezfs

import (
	"fmt"
	"strings"
	"testing"
)

func BenchmarkTransfer(b *testing.B) {
	s := New("tank", "backup")
	do(b, s, "zfs create tank/a")
	do(b, s, "zfs fake-write tank/a 256M")
	do(b, s, "zfs snapshot tank/a@1")
	b.SetBytes(256 << 20)
	for i := 0; b.Loop(); i++ {
		if res := move(s, s, "zfs send tank/a@1", -1, fmt.Sprintf("zfs receive -s backup/%c%d", 'a', i)); res.receive != nil {
			b.Fatal(res)
		}
	}
}

func BenchmarkList(b *testing.B) {
	s := New("tank")
	for i := range 1000 {
		do(b, s, fmt.Sprintf("zfs create tank/d%d", i))
	}
	for i := range 100 {
		do(b, s, fmt.Sprintf("zfs snapshot -r tank@%d", i))
	}
	for b.Loop() {
		_, _, err := s.Output(b.Context(), strings.Fields("zfs list -Hp -t snapshot,bookmark -o name,guid,createtxg -s createtxg -r tank"))
		if err != nil {
			b.Fatal(err)
		}
	}
}
