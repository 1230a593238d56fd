package replication_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zferry/zferry/replication"
)

// newBlockingStream is a stream that never delivers until it is closed.
func newBlockingStream() (io.Reader, func()) {
	r, w := io.Pipe()
	return r, func() { _ = w.Close() }
}

// addAsOfADeadOwner notes a process as a run would have that has died since.
func (p *pair) addAsOfADeadOwner(x replication.Process) error {
	dir := p.t.TempDir()
	x.OwnerPID, x.OwnerStart = os.Getpid(), "0" // this pid, but started at another time
	text, err := json.Marshal(x)
	if err != nil {
		return err
	}
	if p.options.Journal, err = replication.NewFileJournal(dir); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "left.json"), text, 0o600)
}

func TestFileJournal(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	j, err := replication.NewFileJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	id, err := j.Add(replication.Process{Side: "root@nas2:22", PID: 7, Start: "99", Command: "zfs receive b/t", Dataset: "b/t"})
	if err != nil {
		t.Fatal(err)
	}
	list, live, err := j.List()
	if err != nil || len(list) != 1 || !live[0] || list[0].PID != 7 || list[0].ID != id {
		t.Fatalf("list %+v, live %v, %v", list, live, err)
	}
	if err := j.Remove(id); err != nil {
		t.Fatal(err)
	}
	if list, _, err = j.List(); err != nil || len(list) != 0 {
		t.Errorf("after Remove: %v, %v", list, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "x.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err = j.List(); err == nil || !strings.Contains(err.Error(), "x.json") {
		t.Errorf("damaged entry: %v", err)
	}
}

func TestSecondRunIntoTheSameTargetIsRefused(t *testing.T) {
	p := newPair(t)
	p.on(p.src, "zfs create tank/a\nzfs snapshot tank/a@s1")
	if _, err := p.options.Journal.Add(replication.Process{Side: p.target.Name, PID: 1, Start: "1", Dataset: "backup/a/child"}); err != nil {
		t.Fatal(err)
	}
	_, err := p.prepare()
	var refused replication.Refused
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), "already running") {
		t.Errorf("got %v", err)
	}
}
