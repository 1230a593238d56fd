package ssh

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
)

func TestFindMarker(t *testing.T) {
	tests := []struct {
		name  string
		text  string
		want  marker
		after string // what follows the marker; "-" if there is none
	}{
		{"first", "zferry-pid 12 345\nrest", marker{12, "345"}, "rest"},
		{"nothing follows", "zferry-pid 12 345\n", marker{12, "345"}, ""},
		{"incomplete", "zferry-pid 12 34", marker{}, "-"},
		{"nothing", "", marker{}, "-"},
		{"after noise", "Welcome!\n\nzferry-pid 12 345\nrest", marker{12, "345"}, "rest"},
		{"noise without newline", "Welcome! zferry-pid 12 345\nrest", marker{12, "345"}, "rest"},
		{"from ps", "zferry-pid 12 Mon Aug 7 10:11:12 2026\n", marker{12, "Mon Aug 7 10:11:12 2026"}, ""},
		{"no start", "zferry-pid 12 \n", marker{12, ""}, ""},
		{"terminal", "zferry-pid 12 345\r\nrest", marker{12, "345"}, "rest"},
		{"command printed first", "+ echo \"zferry-pid $$ $z_start\"\nzferry-pid 12 345\nrest", marker{12, "345"}, "rest"},
		{"not a pid", "zferry-pid 0 1\nzferry-pid -1 1\nzferry-pid x 1\n", marker{}, "-"},
		{"endless line", "zferry-pid 12 " + strings.Repeat("x", maxMarker) + "\n", marker{}, "-"},
		{"stream like a marker", "zferry-pid 12 345\nzferry-pid 1 2\n", marker{12, "345"}, "zferry-pid 1 2\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, after := findMarker([]byte(tt.text))
			rest := "-"
			if after >= 0 {
				rest = tt.text[after:]
			}
			if m != tt.want || rest != tt.after {
				t.Errorf("got %+v and %q, want %+v and %q", m, rest, tt.want, tt.after)
			}
		})
	}
}

// FuzzFindMarker holds that a marker is found whatever the login shell said before it, that nothing of the stream behind
// it matters, and that bytes that come one by one give the same result.
func FuzzFindMarker(f *testing.F) {
	f.Add([]byte("motd\n"), 12, []byte("stream"))
	f.Add([]byte("zferry-pid "), 1, []byte("zferry-pid 1 2\n"))
	f.Add([]byte("zferry-pid zferry-pid 1"), 99999, []byte{0})
	f.Fuzz(func(t *testing.T, noise []byte, pid int, rest []byte) {
		if m, after := findMarker(noise); after > len(noise) || (after < 0) != (m == marker{}) {
			t.Fatalf("marker %+v at %d of %d bytes", m, after, len(noise))
		}
		if pid < 1 || bytes.Contains(noise, []byte("zferry-pid")) {
			return
		}
		head := append(bytes.Clone(noise), []byte("\n"+markerWord+strconv.Itoa(pid)+" 77\n")...)
		m, after := findMarker(append(bytes.Clone(head), rest...))
		if m != (marker{pid, "77"}) || after != len(head) {
			t.Fatalf("got %+v at %d, want pid %d at %d", m, after, pid, len(head))
		}
		if _, early := findMarker(head[:len(head)-1]); early >= 0 {
			t.Fatal("found before its line was whole")
		}
	})
}
