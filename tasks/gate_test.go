package tasks_test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// gate is where a zfs command waits until it is ended.
type gate struct {
	t    *testing.T
	fifo string
}

func newGate(t *testing.T) gate {
	t.Helper()
	g := gate{t, filepath.Join(t.TempDir(), "gate")}
	if err := syscall.Mkfifo(g.fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	return g
}

// script is a line of shell that writes to the gate, and then waits for ever.
func (g gate) script() string { return fmt.Sprintf("echo here >'%s'; exec sleep 600", g.fifo) }

// reached waits until a command is at the gate.
func (g gate) reached() {
	g.t.Helper()
	f, err := os.OpenFile(g.fifo, os.O_RDWR, 0)
	if err != nil {
		g.t.Fatal(err)
	}
	defer f.Close()
	if err := f.SetReadDeadline(time.Now().Add(patience)); err != nil {
		g.t.Fatal(err)
	}
	if _, err := f.Read(make([]byte, 5)); err != nil {
		g.t.Fatalf("no command came: %v", err)
	}
}
