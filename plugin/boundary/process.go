package boundary

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// ErrGone means that a process has ended, whether or not another one has its pid by now.
var ErrGone = errors.New("process has ended")

// Process names one process for as long as the machine is up: a pid comes round again, with the same start time it does
// not.
type Process struct {
	PID     int    `json:"pid"`
	Started string `json:"started"` // field 22 of /proc/PID/stat
}

// FindProcess names the process that has the pid now. It returns ErrGone if there is none, or only its exit code is left.
func FindProcess(pid int) (Process, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	// A process that ends while the file is open gives ESRCH.
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return Process{}, ErrGone
	}
	if err != nil {
		return Process{}, err
	}
	state, started, err := parseStat(string(text))
	if err != nil {
		return Process{}, fmt.Errorf("/proc/%d/stat: %v", pid, err)
	}
	if state == "Z" || state == "X" {
		return Process{}, ErrGone
	}
	return Process{PID: pid, Started: started}, nil
}

// parseStat takes fields 3 and 22. The second is the program's name, in parentheses, and may contain anything.
func parseStat(text string) (state, started string, err error) {
	end := strings.LastIndexByte(text, ')')
	if end < 0 {
		return "", "", fmt.Errorf("no name in %q", text)
	}
	fields := strings.Fields(text[end+1:])
	if len(fields) < 20 {
		return "", "", fmt.Errorf("too few fields in %q", text)
	}
	if _, err := strconv.ParseUint(fields[19], 10, 64); err != nil {
		return "", "", fmt.Errorf("start time: %v", err)
	}
	return fields[0], fields[19], nil
}

// Self names this process.
func Self() (Process, error) { return FindProcess(os.Getpid()) }

// Alive tells whether this very process still runs. What cannot be read counts as alive.
func (p Process) Alive() bool {
	found, err := FindProcess(p.PID)
	if errors.Is(err, ErrGone) {
		return false
	}
	return err != nil || found == p
}

// Signal sends a signal to this very process and to no other that may have its pid by now: then it returns ErrGone.
func (p Process) Signal(sig os.Signal) error {
	// The handle is taken first: if the process that it stands for is the one we know, the signal goes to no other.
	handle, err := os.FindProcess(p.PID)
	if err != nil {
		return fmt.Errorf("signal pid %d: %v", p.PID, err)
	}
	// The only error is that it was released before.
	defer func() { _ = handle.Release() }()
	found, err := FindProcess(p.PID)
	if err != nil {
		return err
	}
	if found != p {
		return ErrGone
	}
	err = handle.Signal(sig)
	if errors.Is(err, os.ErrProcessDone) {
		return ErrGone
	}
	if err != nil {
		return fmt.Errorf("signal pid %d: %v", p.PID, err)
	}
	return nil
}
