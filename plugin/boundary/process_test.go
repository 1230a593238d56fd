package boundary

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

func TestParseStat(t *testing.T) {
	const rest = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 1093217 20 21"
	tests := []struct {
		name    string
		text    string
		state   string
		started string
		bad     bool
	}{
		{name: "plain", text: "4711 (zferry-plugin)" + rest, state: "S", started: "1093217"},
		{name: "spaces in the name", text: "4711 (a b c)" + rest, state: "S", started: "1093217"},
		{name: "parentheses in the name", text: "4711 (a) R 1 (b)" + rest, state: "S", started: "1093217"},
		{name: "line break in the name", text: "4711 (a\nb)" + rest, state: "S", started: "1093217"},
		{name: "empty", bad: true},
		{name: "cut", text: "4711 (zferry-plugin) S 1 2 3", bad: true},
		{name: "no number", text: "1 (a) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x 20", bad: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			state, started, err := parseStat(tt.text)
			if (err != nil) != tt.bad || state != tt.state || started != tt.started {
				t.Errorf("got %q, %q, %v", state, started, err)
			}
		})
	}
}

// TestProcessReuse shows that a process with the same pid and another start time is neither believed nor touched.
func TestProcessReuse(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	real, err := FindProcess(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	other := Process{PID: real.PID, Started: real.Started + "1"}
	if other.Alive() {
		t.Error("a process with another start time is taken for alive")
	}
	if err := other.Signal(os.Kill); !errors.Is(err, ErrGone) {
		t.Errorf("signal to a process with another start time: %v", err)
	}
	if !real.Alive() {
		t.Fatal("the wrong process was killed")
	}

	if err := real.Signal(os.Kill); err != nil {
		t.Fatal(err)
	}
	if exit, ok := errors.AsType[*exec.ExitError](cmd.Wait()); !ok || exit.Sys().(syscall.WaitStatus).Signal() != os.Kill {
		t.Errorf("exit %v", exit)
	}
	if real.Alive() {
		t.Error("a process that has ended is taken for alive")
	}
	if err := real.Signal(os.Kill); !errors.Is(err, ErrGone) {
		t.Errorf("signal to a process that has ended: %v", err)
	}
}

func TestSelf(t *testing.T) {
	self, err := Self()
	if err != nil || self.PID != os.Getpid() || !self.Alive() {
		t.Errorf("%+v, %v", self, err)
	}
}
