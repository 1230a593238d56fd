package tasks

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/zferry/zferry/faults"
	"github.com/zferry/zferry/jobs"
	"github.com/zferry/zferry/store"
)

// Interrupted is the outcome of a run that ended with the process, by a crash or a drain.
const Interrupted = "INTERRUPTED"

// restartsInARow is how often a task is started again by itself before a run of it has ended in another way: one whose runs
// bring the process down would do so for ever.
const restartsInARow = 3

func interrupted(err error) bool {
	return errors.Is(err, jobs.ErrDrained) || errors.Is(err, jobs.ErrClosed)
}

func (s *Service) keepState(ctx context.Context, id int64, state State) error {
	data, err := encodeState(state)
	if err != nil {
		return err
	}
	err = s.store.SetTaskState(ctx, id, data)
	if errors.Is(err, store.ErrNotFound) {
		return nil // deleted meanwhile
	}
	return err
}

// Recover settles the runs that ended with an earlier process. It is called once, before any task runs.
func (s *Service) Recover(ctx context.Context, reason string) error {
	runs, err := s.store.UnfinishedRuns(ctx)
	if err != nil {
		return err
	}
	for _, r := range runs {
		r.Outcome, r.Message, r.Finished = Interrupted, reason, time.Now()
		before, err := s.store.TaskState(ctx, r.TaskID)
		if err != nil {
			return err
		}
		state := State{Phase: Failed, At: r.Finished, Error: reason, LastSnapshot: decodeState(before).LastSnapshot, Job: r.JobID}
		if err := errors.Join(s.store.FinishRun(ctx, r), s.keepState(ctx, r.TaskID, state)); err != nil {
			return err
		}
	}
	return nil
}

const keyPrefix = "replication:"

// Key is the Key of jobs that run a task.
func Key(task int64) string { return keyPrefix + strconv.FormatInt(task, 10) }

// Again returns the task whose run the job was, if it is to be started once more by itself (decisions 3).
func (s *Service) Again(ctx context.Context, interrupted jobs.Job) (task int64, again bool, err error) {
	number, ours := strings.CutPrefix(interrupted.Key, keyPrefix)
	if !ours {
		return 0, false, nil
	}
	if task, err = strconv.ParseInt(number, 10, 64); err != nil {
		return 0, false, fmt.Errorf("job %d: key: %w", interrupted.ID, err)
	}
	if _, err := s.Get(ctx, task); err != nil {
		if faults.Is(err) {
			err = nil // deleted meanwhile
		}
		return 0, false, err
	}
	newest, err := s.store.Runs(ctx, task, restartsInARow)
	return task, err == nil && !inARow(newest), err
}

// inARow tells whether the newest runs were all started by themselves and interrupted again.
func inARow(newest []store.Run) bool {
	n := 0
	for _, r := range newest {
		if r.Outcome != Interrupted || !r.Restart {
			break
		}
		n++
	}
	return n >= restartsInARow
}
