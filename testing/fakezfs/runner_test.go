package fakezfs

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zferry/zferry/zfs"
)

var _ zfs.Runner = (*System)(nil)

func switched(t *testing.T, s *System, sw Switches) {
	t.Helper()
	if err := s.SetSwitches(sw); err != nil {
		t.Fatal(err)
	}
}

func TestSudo(t *testing.T) {
	s := tree(t)
	for _, tt := range []struct {
		name string
		sw   Switches
		argv string
		code int
		says string
	}{
		{name: "as root", argv: "sudo -n zfs snapshot lab/a@x", sw: Switches{Deny: []string{"snapshot"}}},
		{
			name: "without", argv: "zfs snapshot lab/a@y", sw: Switches{Deny: []string{"snapshot"}}, code: 1,
			says: "cannot create snapshots : permission denied\n",
		},
		{name: "password", argv: "sudo -n zfs list", sw: Switches{Sudo: "password"}, code: 1, says: "sudo: a password is required\n"},
		{name: "no sudo", argv: "sudo -n zfs list", sw: Switches{Sudo: "missing"}, code: 127, says: "sh: 1: sudo: not found\n"},
		{name: "no zfs", argv: "zfs list", sw: Switches{NoZFS: true}, code: 127, says: "sh: 1: zfs: not found\n"},
		{name: "other", argv: "reboot now", code: 127, says: "sh: 1: reboot: not found\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			switched(t, s, tt.sw)
			_, stderr, err := s.Output(t.Context(), strings.Fields(tt.argv))
			code := 0
			var e interface{ ExitCode() int }
			if errors.As(err, &e) {
				code = e.ExitCode()
			}
			if code != tt.code || stderr != tt.says {
				t.Errorf("exit code %d, %q; want %d, %q", code, stderr, tt.code, tt.says)
			}
		})
	}
}

func TestDies(t *testing.T) {
	s := tree(t)
	switched(t, s, Switches{Die: map[string]int64{"receive": 1000000}})
	res := move(s, s, "zfs send lab/a@s1", -1, "zfs receive -s lab2/a")
	var e *ExitError
	if !errors.As(res.receive, &e) || e.Code != -1 || res.receiving != "" {
		t.Fatalf("%+v", res)
	}
	token := do(t, s, "zfs get -Hpo value receive_resume_token lab2/a")
	if token == "-" {
		t.Fatal("no token")
	}
	// It dies only once.
	if res := move(s, s, "zfs send -t "+token, -1, "zfs receive -s lab2/a"); res.receive != nil || res.send != nil {
		t.Fatalf("%+v", res)
	}
	switched(t, s, Switches{Die: map[string]int64{"send": 1000000}, DieAlways: true})
	for range 2 {
		res = move(s, s, "zfs send lab/a@s1", -1, "zfs receive lab2/b")
		if !errors.As(res.send, &e) || e.Code != -1 {
			t.Fatalf("%+v", res)
		}
		if _, err := s.Do("zfs list lab2/b"); err == nil {
			t.Error("a receive without -s left something")
		}
	}
}

// An input that breaks is no end of the input: the command is killed and says nothing.
func TestBrokenInput(t *testing.T) {
	s := tree(t)
	stream, _, err := s.Output(t.Context(), strings.Fields("zfs send lab/a@s1"))
	if err != nil {
		t.Fatal(err)
	}
	lost := errors.New("connection lost")
	in := io.MultiReader(strings.NewReader(string(stream[:2000000])), failing{lost})
	stderr, err := s.Stream(t.Context(), [][]string{strings.Fields("zfs receive -s lab2/a")}, in, nil, nil)
	var e *ExitError
	if !errors.Is(err, lost) || !errors.As(err, &e) || e.Code != -1 || stderr != "" {
		t.Errorf("%v, %q", err, stderr)
	}
	if do(t, s, "zfs get -Hpo value receive_resume_token lab2/a") == "-" {
		t.Error("no token")
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestHangAndEnd(t *testing.T) {
	s := tree(t)
	switched(t, s, Switches{Hang: map[string]int64{"send": 500000}})
	type started struct {
		pid   int
		start string
	}
	begun := make(chan started, 1)
	done := make(chan error, 1)
	go func() {
		_, err := s.Stream(t.Context(), [][]string{strings.Fields("zfs send lab/a@s1")}, nil, nil, func(pid int, start string) error {
			begun <- started{pid, start}
			return nil
		})
		done <- err
	}()
	b := <-begun
	if gone, err := s.End(t.Context(), b.pid, "other"); !gone || err != nil {
		t.Errorf("End with another start: %t, %v", gone, err)
	}
	waitBusy(t, s, "lab/a@s1")
	if got := refused(t, s, "zfs destroy lab/a@s1"); got != "cannot destroy snapshot lab/a@s1: dataset is busy\n" {
		t.Errorf("destroy while it is sent: %q", got)
	}
	select {
	case err := <-done:
		t.Fatalf("did not hang: %v", err)
	default:
	}
	if gone, err := s.End(t.Context(), b.pid, b.start); !gone || err != nil {
		t.Errorf("End: %t, %v", gone, err)
	}
	if err := <-done; !errors.Is(err, errEnded) {
		t.Errorf("Stream: %v", err)
	}
	do(t, s, "zfs destroy lab/a@s1")
}

func waitBusy(t *testing.T, s *System, name string) {
	t.Helper()
	for range 1000 {
		busy := false
		_ = s.keep.view(func(st *state) error {
			busy = st.busy("send", name) || st.busy("receive", name)
			return nil
		})
		if busy {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("%s never became busy", name)
}

// While a dataset is received nothing else may be done to it.
func TestBusyReceive(t *testing.T) {
	s := tree(t)
	stream, _, err := s.Output(t.Context(), strings.Fields("zfs send lab/a@s1"))
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := s.Stream(ctx, [][]string{strings.Fields("zfs receive -s lab2/k")}, r, nil, nil)
		done <- err
	}()
	if _, err := w.Write(stream[:2000000]); err != nil {
		t.Fatal(err)
	}
	waitBusy(t, s, "lab2/k")
	for line, want := range map[string]string{
		"zfs receive -A lab2/k": "cannot destroy 'lab2/k': dataset is busy\n",
		"zfs destroy lab2/k":    "cannot destroy 'lab2/k': dataset is busy\n",
	} {
		if got := refused(t, s, line); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	res := move(s, s, "zfs send lab/a@s1", -1, "zfs receive -s lab2/k")
	if want := "cannot receive new filesystem stream: destination 'lab2/k' exists\nmust specify -F to overwrite it\n"; res.receiving != want {
		t.Errorf("a second receive: %q", res.receiving)
	}
	why := errors.New("stopped by the user")
	cancel(why)
	if err := <-done; !errors.Is(err, why) {
		t.Errorf("Stream: %v", err)
	}
	_ = w.Close()
	if do(t, s, "zfs get -Hpo value receive_resume_token lab2/k") == "-" {
		t.Error("no token")
	}
}

func TestStartedRefuses(t *testing.T) {
	s := tree(t)
	no := errors.New("no")
	r, w := io.Pipe() // which would block a read
	_, err := s.Stream(t.Context(), [][]string{{"zfs", "receive", "lab2/x"}}, r, nil, func(int, string) error { return no })
	if !errors.Is(err, no) {
		t.Errorf("Stream: %v", err)
	}
	_ = w.Close()
}

func TestRate(t *testing.T) {
	s := tree(t)
	switched(t, s, Switches{Rate: 10 << 20})
	begin := time.Now()
	if _, _, err := s.Output(t.Context(), strings.Fields("zfs send lab/a@s1")); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < 250*time.Millisecond {
		t.Errorf("3 MiB at 10 MiB/s took %v", took)
	}
}

// A pool that becomes full keeps what came in until then.
func TestPoolFull(t *testing.T) {
	s := tree(t)
	if err := s.SetCapacity("lab2", 2<<20); err != nil {
		t.Fatal(err)
	}
	res := move(s, s, "zfs send lab/a@s1", -1, "zfs receive -s lab2/a")
	if want := "cannot receive new filesystem stream: out of space\n"; res.receiving != want {
		t.Errorf("%q, want %q", res.receiving, want)
	}
	if do(t, s, "zfs get -Hpo value receive_resume_token lab2/a") == "-" {
		t.Error("no token")
	}
}

func TestCommands(t *testing.T) {
	s := tree(t)
	argv := []string{"sudo", "-n", "zfs", "list"}
	if _, _, err := s.Output(t.Context(), argv); err != nil {
		t.Fatal(err)
	}
	if got := s.Commands(); len(got) != 1 || !slices.Equal(got[0], argv) {
		t.Errorf("commands: %q", got)
	}
}
