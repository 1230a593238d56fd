package fakezfs

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// history is a random life of tank/a and its copy backup/a.
type history struct {
	t     *rapid.T
	s     *System
	taken int
}

func (h *history) do(line string) string { return h.must(h.s.Do(line)) }

func (h *history) must(out string, err error) string {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

func (h *history) names(dataset string) []string {
	return strings.Fields(h.do("zfs list -H -t snapshot -d 1 -o name -s createtxg " + dataset))
}

func (h *history) exists(dataset string) bool {
	_, err := h.s.Do("zfs list " + dataset)
	return err == nil
}

func (h *history) write() {
	h.do(fmt.Sprintf("zfs fake-write tank/a %d", rapid.IntRange(1, 700000).Draw(h.t, "bytes")))
}

func (h *history) snapshot() {
	h.taken++
	h.do(fmt.Sprintf("zfs snapshot tank/a@%d", h.taken))
}

// newest returns the newest common snapshot by its name on the source, or "".
func (h *history) newest() string {
	if !h.exists("backup/a") {
		return ""
	}
	guids := map[string]bool{}
	for g := range strings.FieldsSeq(h.do("zfs list -Hp -t snapshot -d 1 -o guid backup/a")) {
		guids[g] = true
	}
	base := ""
	for _, n := range h.names("tank/a") {
		if guids[h.do("zfs get -Hpo value guid "+n)] {
			base = n
		}
	}
	return base
}

// replicate sends what is missing: a token first, then -I or a chain of -i; a cut leaves the rest for the next time.
func (h *history) replicate() {
	cut := int64(-1)
	if rapid.Bool().Draw(h.t, "cut") {
		cut = rapid.Int64Range(0, 2500000).Draw(h.t, "at")
	}
	if h.exists("backup/a") {
		if token := h.do("zfs get -Hpo value receive_resume_token backup/a"); token != "-" {
			if res := move(h.s, h.s, "zfs send -t "+token, cut, "zfs receive -s backup/a"); res.receive == nil && cut < 0 && res.send != nil {
				h.t.Fatalf("resume: %+v", res)
			}
			return
		}
	}
	snaps := h.names("tank/a")
	base := h.newest()
	if len(snaps) == 0 || base == snaps[len(snaps)-1] {
		return
	}
	last := snaps[len(snaps)-1]
	send := "zfs send " + last
	switch {
	case base != "" && rapid.Bool().Draw(h.t, "intermediates"):
		send = "zfs send -I " + base + " " + last
	case base != "":
		send = "zfs send -i " + base + " " + last
	}
	res := move(h.s, h.s, send, cut, "zfs receive -s backup/a")
	if cut < 0 && (res.send != nil || res.receive != nil) {
		h.t.Fatalf("%s: %+v", send, res)
	}
}

// check holds what is always true of a copy.
func (h *history) check() {
	if !h.exists("backup/a") {
		return
	}
	for _, n := range h.names("backup/a") {
		same := "tank/a" + strings.TrimPrefix(n, "backup/a")
		if h.do("zfs get -Hpo value guid "+n) != h.do("zfs get -Hpo value guid "+same) {
			h.t.Fatalf("%s and %s differ by GUID", n, same)
		}
		if h.do("zfs fake-sum "+n) != h.do("zfs fake-sum "+same) {
			h.t.Fatalf("%s and %s differ in content", n, same)
		}
	}
}

// A copy is always equal to its source in what it has, however often its streams are cut, and gets all at last.
func TestHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &history{t: t, s: New("tank", "backup")}
		h.do("zfs create tank/a")
		for range rapid.IntRange(1, 15).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0, 1:
				h.write()
			case 2:
				h.snapshot()
			default:
				h.replicate()
			}
			h.check()
		}
		h.snapshot()
		for range 40 {
			if b := h.newest(); b != "" && b == h.names("tank/a")[len(h.names("tank/a"))-1] {
				return
			}
			h.replicate()
			h.check()
		}
		t.Fatal("the copy never became complete")
	})
}

// A stream cut at any byte leaves nothing, or a token that completes it.
func TestCutAnywhere(t *testing.T) {
	s := New("tank", "backup")
	for _, line := range []string{
		"zfs create tank/a", "zfs fake-write tank/a 300000", "zfs fake-write tank/a 100",
		"zfs snapshot tank/a@1", "zfs fake-write tank/a 200000", "zfs snapshot tank/a@2",
	} {
		do(t, s, line)
	}
	rapid.Check(t, func(rt *rapid.T) {
		h := &history{t: rt, s: s}
		defer func() { _, _ = s.Do("zfs destroy -r backup/a") }()
		send := "zfs send tank/a@2"
		if rapid.Bool().Draw(rt, "incremental") {
			send = "zfs send -i tank/a@1 tank/a@2"
			if res := move(s, s, "zfs send tank/a@1", -1, "zfs receive -s backup/a"); res.receive != nil {
				rt.Fatalf("%+v", res)
			}
		}
		for try := 0; ; try++ {
			if try == 30 {
				rt.Fatal("no end")
			}
			cut := rapid.Int64Range(0, 600000).Draw(rt, "cut")
			res := move(s, s, send, cut, "zfs receive -s backup/a")
			if res.receive == nil {
				break
			}
			if h.exists("backup/a") {
				if token := h.do("zfs get -Hpo value receive_resume_token backup/a"); token != "-" {
					send = "zfs send -t " + token
				}
			}
			if try > 5 {
				res := move(s, s, send, -1, "zfs receive -s backup/a")
				if res.receive != nil || res.send != nil {
					rt.Fatalf("%s: %+v", send, res)
				}
				break
			}
		}
		if h.do("zfs fake-sum backup/a@2") != h.do("zfs fake-sum tank/a@2") {
			rt.Fatal("the copy differs")
		}
	})
}
