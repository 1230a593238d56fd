package replication

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/zferry/zferry/transport"
)

// Process is a process that carries a stream on one side. It is noted before data flows, so that the next start can end
// what a crash or a power loss left behind (decisions.md 23b).
type Process struct {
	ID      string `json:"-"`
	Side    string `json:"side"` // Side.Name
	PID     int    `json:"pid"`
	Start   string `json:"start"` // see zfs.Runner
	Command string `json:"command"`
	Dataset string `json:"dataset"` // the target's

	OwnerPID   int    `json:"owner_pid"` // the process of ours that started it
	OwnerStart string `json:"owner_start"`
}

// Journal keeps the processes that runs have started.
type Journal interface {
	// Add notes p durably and returns its ID.
	Add(p Process) (id string, err error)
	Remove(id string) error
	// List gives what was noted and not removed; live tells of each whether the process that owns it still runs.
	List() (list []Process, live []bool, err error)
}

// FileJournal is a Journal in a folder, a file for each process.
type FileJournal struct{ dir string }

// NewFileJournal keeps its files in dir, which is made with mode 0700 if it is missing.
func NewFileJournal(dir string) (*FileJournal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("journal of started processes: %w", err)
	}
	return &FileJournal{dir}, nil
}

// Add implements Journal. The file is on disk when it returns: a power loss is what it is for.
func (j *FileJournal) Add(p Process) (string, error) {
	p.OwnerPID = os.Getpid()
	start, err := transport.Local{}.Started(p.OwnerPID)
	if err != nil {
		return "", fmt.Errorf("journal: %w", err)
	}
	p.OwnerStart = start
	text, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("journal: %w", err)
	}
	id := rand.Text()
	if err := writeDurably(j.dir, id+".json", text); err != nil {
		return "", fmt.Errorf("journal: %w", err)
	}
	return id, nil
}

func writeDurably(dir, name string, text []byte) error {
	f, err := os.OpenFile(filepath.Join(dir, name+".new"), os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Remove implements Journal.
func (j *FileJournal) Remove(id string) error {
	if err := os.Remove(filepath.Join(j.dir, id+".json")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

// List implements Journal. A file that cannot be read as an entry is an error that names it: guessing could leave a
// process behind.
func (j *FileJournal) List() (list []Process, live []bool, err error) {
	files, err := filepath.Glob(filepath.Join(j.dir, "*.json"))
	if err != nil {
		return nil, nil, fmt.Errorf("journal: %w", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue // removed by its owner meanwhile
		}
		if err != nil {
			return nil, nil, fmt.Errorf("journal: %w", err)
		}
		p := Process{ID: strings.TrimSuffix(filepath.Base(file), ".json")}
		if err := json.Unmarshal(text, &p); err != nil {
			return nil, nil, fmt.Errorf("journal: %s: %w", file, err)
		}
		list = append(list, p)
		live = append(live, transport.Local{}.Alive(p.OwnerPID, p.OwnerStart))
	}
	return list, live, nil
}

const (
	// leftoverWait is how long a process that we may not end gets to end by itself (decisions.md 23b).
	leftoverWait = 60 * time.Second
	leftoverPoll = 2 * time.Second
)

// endLeftovers ends what earlier runs left behind on the two sides, and refuses to start beside a run that still works on
// the same target.
func endLeftovers(ctx context.Context, task Task, sides []Side, o Options) error {
	if o.Journal == nil {
		return nil
	}
	list, live, err := o.Journal.List()
	if err != nil {
		return err
	}
	for i, p := range list {
		if live[i] {
			if p.Side == sides[1].Name && (within(p.Dataset, task.Target) || within(task.Target, p.Dataset)) {
				return Refused{{p.Dataset, fmt.Sprintf("A replication into '%s' on %s is already running (process %d). Wait for it or end it first.", p.Dataset, sides[1].where(), p.OwnerPID)}}
			}
			continue
		}
		for _, side := range sides {
			if side.Name != p.Side || side.Proc == nil {
				continue
			}
			if err := endLeftover(ctx, side, p, o); err != nil {
				return err
			}
		}
	}
	return nil
}

func endLeftover(ctx context.Context, side Side, p Process, o Options) error {
	deadline := time.Now().Add(leftoverWait)
	for {
		gone, err := side.Proc.End(ctx, p.PID, p.Start)
		if gone {
			o.warn(fmt.Sprintf("ended a process that an earlier run left on %s: %s (pid %d)", side.where(), p.Command, p.PID))
			return o.Journal.Remove(p.ID)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if time.Now().After(deadline) {
			if err == nil {
				err = errors.New("it does not end")
			}
			return fmt.Errorf("%s: process %d of an earlier run (%s) still works on '%s' and could not be ended: %w. End it there, then try again", side.where(), p.PID, p.Command, p.Dataset, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(leftoverPoll):
		}
	}
}
