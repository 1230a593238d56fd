package fakezfs

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

// do runs a line on a system and fails the test if it fails.
func do(t testing.TB, s *System, line string) string {
	t.Helper()
	out, err := s.Do(line)
	if err != nil {
		var e *ExitError
		if errors.As(err, &e) {
			t.Fatalf("%s: %v: %s", line, err, e.Stderr)
		}
		t.Fatalf("%s: %v", line, err)
	}
	return out
}

// refused runs a line that is to fail and returns what it says.
func refused(t testing.TB, s *System, line string) string {
	t.Helper()
	_, err := s.Do(line)
	var e *ExitError
	if !errors.As(err, &e) {
		t.Fatalf("%s: %v, want a failure", line, err)
	}
	return e.Stderr
}

// result is how the ends of a pipe fared.
type result struct {
	send, receive       error
	sendText, receiving string
}

// move pipes a send of one system into receives of another; at most limit bytes come through (below 0: all).
func move(from, to *System, send string, limit int64, receive ...string) result {
	r, w := io.Pipe()
	ctx := context.Background()
	var res result
	done := make(chan struct{})
	go func() {
		defer close(done)
		var out io.Writer = w
		if limit >= 0 {
			out = &limitedWriter{w: w, left: limit}
		}
		var commands [][]string
		for c := range strings.SplitSeq(send, ";") {
			commands = append(commands, strings.Fields(c))
		}
		res.sendText, res.send = from.Stream(ctx, commands, nil, out, nil)
		_ = w.Close()
	}()
	var commands [][]string
	for _, c := range receive {
		commands = append(commands, strings.Fields(c))
	}
	res.receiving, res.receive = to.Stream(ctx, commands, r, nil, nil)
	_ = r.Close()
	<-done
	return res
}

// limitedWriter is head -c.
type limitedWriter struct {
	w    io.Writer
	left int64
}

func (l *limitedWriter) Write(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, io.ErrClosedPipe
	}
	n, err := l.w.Write(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	if err == nil && n < len(p) {
		err = io.ErrClosedPipe
	}
	return n, err
}

// tree makes a system with lab/a: s1 to s4, a bookmark b1 of s1, a child.
func tree(t testing.TB) *System {
	s := New("lab", "lab2")
	for _, line := range strings.Split(`zfs create lab/a
zfs fake-write lab/a 3145728
zfs snapshot lab/a@s1
zfs bookmark lab/a@s1 lab/a#b1
zfs fake-write lab/a 2097152
zfs snapshot lab/a@s2
zfs snapshot lab/a@s3
zfs create lab/a/child
zfs fake-write lab/a 7000
zfs snapshot -r lab/a@s4
zfs create -V 1M lab/vol
zfs fake-write lab/vol 500000
zfs snapshot lab/vol@v1`, "\n") {
		do(t, s, line)
	}
	return s
}

func TestTransfer(t *testing.T) {
	s := tree(t)
	res := move(s, s, "zfs send lab/a@s1; zfs send -I lab/a@s1 lab/a@s4", -1, "zfs recv -s -u lab2/cat", "zfs recv -s -u lab2/cat")
	if res.send != nil || res.receive != nil {
		t.Fatalf("%+v", res)
	}
	const guids = "zfs list -Hp -t snapshot -o guid -d 1 "
	if got, want := do(t, s, guids+"lab2/cat"), do(t, s, guids+"lab/a"); got != want {
		t.Errorf("GUIDs of the copy\n%s\nwant\n%s", got, want)
	}
	for _, snap := range []string{"s1", "s2", "s3", "s4"} {
		if got, want := do(t, s, "zfs fake-sum lab2/cat@"+snap), do(t, s, "zfs fake-sum lab/a@"+snap); got != want {
			t.Errorf("%s: the copy differs", snap)
		}
	}
}

func TestResume(t *testing.T) {
	s := tree(t)
	res := move(s, s, "zfs send lab/a@s2", 2000000, "zfs recv -s -u lab2/cut")
	if res.receive == nil || !strings.Contains(res.receiving, "Partially received snapshot is saved") {
		t.Fatalf("%+v", res)
	}
	token := do(t, s, "zfs get -Hpo value receive_resume_token lab2/cut")
	t.Log(do(t, s, "zfs send -nvP -t "+token))
	res = move(s, s, "zfs send -t "+token, -1, "zfs recv -s -u lab2/cut")
	if res.send != nil || res.receive != nil {
		t.Fatalf("%+v", res)
	}
	if do(t, s, "zfs fake-sum lab2/cut@s2") != do(t, s, "zfs fake-sum lab/a@s2") {
		t.Error("the copy differs")
	}
}
