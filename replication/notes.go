package replication

import (
	"context"
	"errors"
	"sync"
	"time"
)

// settleWait bounds how long a failed run looks after processes that it may have left behind; the next start does the rest.
const settleWait = 3 * time.Second

// notes are the journal's entries of one channel.
type notes struct {
	journal Journal

	mu   sync.Mutex // guards list: both ends start at once
	list []Process
}

// by returns the function that notes a process of side before data flows.
func (n *notes) by(side Side, command, dataset string) func(int, string) error {
	if n.journal == nil {
		return nil
	}
	return func(pid int, start string) error {
		if pid == 0 {
			return nil // nothing that could be left behind
		}
		p := Process{Side: side.Name, PID: pid, Start: start, Command: command, Dataset: dataset}
		id, err := n.journal.Add(p)
		if err != nil {
			return err
		}
		p.ID = id
		n.mu.Lock()
		defer n.mu.Unlock()
		n.list = append(n.list, p)
		return nil
	}
}

// settle removes the entries of processes that are gone. After a failure each is ended or seen to be gone first; what
// cannot be reached stays noted for the next start.
func (n *notes) settle(ctx context.Context, clean bool, sides ...Side) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleWait)
	defer cancel()
	var errs []error
	for _, p := range n.list {
		gone := clean
		for _, side := range sides {
			if !gone && side.Name == p.Side && side.Proc != nil {
				gone, _ = side.Proc.End(ctx, p.PID, p.Start) // an unreachable side is for the next start
			}
		}
		if gone {
			errs = append(errs, n.journal.Remove(p.ID))
		}
	}
	return errors.Join(errs...)
}
