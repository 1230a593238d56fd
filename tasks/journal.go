package tasks

import (
	"sync"

	"github.com/zferry/zferry/replication"
)

// journal notes the processes of all runs. Its entries count as work under way while the program lives that made them; what a
// run of this program could not end when it failed, because the other side was out of reach, is left behind all the same, and
// the next run is to end it.
type journal struct {
	replication.Journal

	mu   sync.Mutex // guards left
	left map[string]bool
}

// List implements replication.Journal.
func (j *journal) List() (list []replication.Process, live []bool, err error) {
	list, live, err = j.Journal.List()
	j.mu.Lock()
	defer j.mu.Unlock()
	for i, p := range list {
		live[i] = live[i] && !j.left[p.ID]
	}
	return list, live, err
}

// Remove implements replication.Journal.
func (j *journal) Remove(id string) error {
	if err := j.Journal.Remove(id); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.left, id)
	return nil
}

// attemptNotes is the journal of one attempt.
type attemptNotes struct {
	*journal

	mu  sync.Mutex // guards ids
	ids map[string]bool
}

func (j *journal) attempt() *attemptNotes {
	return &attemptNotes{journal: j, ids: make(map[string]bool)}
}

// Add implements replication.Journal.
func (a *attemptNotes) Add(p replication.Process) (string, error) {
	id, err := a.journal.Add(p)
	if err != nil {
		return "", err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ids[id] = true
	return id, nil
}

// Remove implements replication.Journal.
func (a *attemptNotes) Remove(id string) error {
	if err := a.journal.Remove(id); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.ids, id)
	return nil
}

// over says that nothing works for the attempt any more: what it has not removed is left behind.
func (a *attemptNotes) over() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.journal.mu.Lock()
	defer a.journal.mu.Unlock()
	for id := range a.ids {
		a.left[id] = true
	}
}
