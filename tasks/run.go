package tasks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/zferry/zferry/faults"
	"github.com/zferry/zferry/jobs"
	"github.com/zferry/zferry/replication"
	"github.com/zferry/zferry/ssh"
	"github.com/zferry/zferry/store"
)

var (
	// ErrRunning is a task that a job runs already.
	ErrRunning = errors.New("Task is already running") //nolint:staticcheck // the wording of the API
	// ErrHold is a task that cannot run: its state says why.
	ErrHold = errors.New("Task is on hold") //nolint:staticcheck // likewise
)

// Run carries out a task as the work of a job. The target keeps what an interrupted run has sent, and the next one goes on
// from there. If ctx ends, Run returns its cause once the processes on both sides are gone.
func (s *Service) Run(ctx context.Context, h *jobs.Handle, id int64, restart bool) error {
	e, err := s.Get(ctx, id)
	if err != nil {
		return err
	}
	log := logger(h, &e.Definition)
	if e.State.Phase == Hold {
		log.Error("the task is on hold", "reason", e.State.Reason)
		return ErrHold
	}
	run := store.Run{TaskID: id, JobID: h.ID(), Started: time.Now(), Outcome: string(Running), Restart: restart}
	if run.ID, err = s.begin(ctx, run); err != nil {
		return err
	}
	defer func() {
		if p := recover(); p != nil { // it fails the job, and must not leave the task running for ever
			_ = s.finish(ctx, e, run, replication.Result{}, nil, errors.New("internal error"))
			panic(p)
		}
	}()
	result, warnings, err := s.carry(ctx, h, &e.Definition, log, func(p replication.Progress) { s.moved(id, p) })
	return s.finish(ctx, e, run, result, warnings, err)
}

// RunOnce carries out a definition that is not kept, as the work of a job.
func (s *Service) RunOnce(ctx context.Context, h *jobs.Handle, d Definition) error {
	d.OneTime = true
	d.Name = fmt.Sprintf("Temporary replication task for job %d", h.ID())
	bad, err := s.check(ctx, 0, &d)
	if err != nil {
		return err
	}
	if err := bad.Err(); err != nil {
		return err
	}
	_, _, err = s.carry(ctx, h, &d, logger(h, &d), func(replication.Progress) {})
	return err
}

// begin notes that a job runs a task, tells of it, and returns the number of the run.
func (s *Service) begin(ctx context.Context, run store.Run) (id int64, err error) {
	s.tell.Lock()
	defer s.tell.Unlock()
	if !s.enter(run.TaskID, &live{job: run.JobID, state: State{Phase: Running, At: run.Started, Job: run.JobID}}) {
		return 0, ErrRunning
	}
	// Asked once more: who deletes a task from now on learns of the job, and who did so before has not.
	_, err = s.Get(ctx, run.TaskID)
	if err == nil {
		id, err = s.store.AddRun(ctx, run)
	}
	if err != nil {
		s.leave(run.TaskID)
		return 0, err
	}
	s.changedLocked(ctx, run.TaskID)
	return id, nil
}

func (s *Service) enter(id int64, run *live) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live[id] != nil {
		return false
	}
	s.live[id] = run
	return true
}

func (s *Service) leave(id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, id)
}

// moved tells how far a run has come.
func (s *Service) moved(id int64, p replication.Progress) {
	if p.Snapshot == "" {
		return // the first one has not started (truenas-api.md 3.7)
	}
	s.tell.Lock()
	defer s.tell.Unlock()
	s.mu.Lock()
	run := s.live[id]
	if run == nil || run.deleted {
		s.mu.Unlock()
		return
	}
	run.state.Progress, run.state.At = &p, time.Now()
	state := run.state
	s.mu.Unlock()
	s.notify(Change{Msg: "changed", Entry: Entry{ID: id, State: state}, State: true})
}

// changedLocked tells that the state of a task has changed. A task that was deleted meanwhile has none. It needs Service.tell.
func (s *Service) changedLocked(ctx context.Context, id int64) {
	e, err := s.Get(ctx, id)
	switch {
	case faults.Is(err):
	case err != nil:
		s.log.Error("state of a task not told", "task", id, "err", err)
	default:
		s.notify(Change{Msg: "changed", Entry: e, State: true})
	}
}

// finish keeps how a run has ended, also if ctx has.
func (s *Service) finish(ctx context.Context, e Entry, run store.Run, result replication.Result, warnings []string, err error) error {
	ctx = context.WithoutCancel(ctx)
	state := State{Phase: Finished, At: time.Now(), Warnings: warnings, LastSnapshot: e.State.LastSnapshot, Job: run.JobID}
	run.Outcome = string(Finished)
	if err != nil {
		state.Phase, state.Error = Failed, sentence(err)
		run.Outcome, run.Message = string(Failed), state.Error
		if interrupted(err) {
			run.Outcome = Interrupted
		}
	}
	if last := lastSnapshot(result); last != "" {
		state.LastSnapshot = last
	}
	run.Finished, run.Bytes = time.Now(), result.Bytes
	run.Snapshots, run.Datasets = int64(result.Snapshots), int64(result.Datasets)
	s.tell.Lock()
	defer s.tell.Unlock()
	kept := errors.Join(s.store.FinishRun(ctx, run), s.keepState(ctx, e.ID, state))
	s.leave(e.ID)
	s.changedLocked(ctx, e.ID)
	if kept != nil {
		// The data has arrived: what cannot be kept of it is for the log.
		s.log.Error("outcome of a run not kept", "task", e.ID, "job", run.JobID, "err", kept)
	}
	return err
}

// lastSnapshot is the last one that arrived whole, "" if none did.
func lastSnapshot(r replication.Result) string {
	for i := len(r.PerDataset) - 1; i >= 0; i-- {
		if d := r.PerDataset[i]; d.Snapshots > 0 {
			return d.LastSnapshot
		}
	}
	return ""
}

// carry replicates, and tries again while the network fails and something moves in between.
func (s *Service) carry(ctx context.Context, h *jobs.Handle, d *Definition, log *slog.Logger, moved func(replication.Progress)) (total replication.Result, warnings []string, err error) {
	defer func() {
		if err != nil {
			log.Error("failed", "err", err)
		}
	}()
	var config ssh.Config
	if d.Remote() {
		if config, err = s.keychain.Config(ctx, *d.SSHCredentials); err != nil {
			return total, nil, err
		}
	}
	o := replication.Options{
		Report: func(p replication.Progress) {
			moved(p)
			h.Progress(jobProgress(p))
		},
		Warn: func(text string) {
			log.Warn("warning", "text", text)
			s.log.Warn("a run warns", "job", h.ID(), "text", text)
			warnings = addWarning(warnings, text)
		},
	}
	for wasted := 0; ; {
		result, err := s.attempt(ctx, d, config, o, log)
		total.Add(result)
		if err == nil || ctx.Err() != nil || !passing(err) {
			return total, warnings, err
		}
		if wasted++; result.Bytes > 0 {
			wasted = 0
		}
		if wasted >= d.Retries {
			return total, warnings, err
		}
		wait := pause(wasted)
		log.Warn("the connection failed, trying again", "err", err, "in", wait)
		h.Progress(jobs.Progress{Description: fmt.Sprintf("The connection failed, trying again in %v: %v", wait, err)})
		select {
		case <-ctx.Done():
			return total, warnings, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// What is kept of the warnings of a run: all of them stand in the logs.
const (
	maxWarnings = 100
	maxWarning  = 2000 // bytes of one
)

func addWarning(warnings []string, text string) []string {
	switch {
	case len(warnings) > maxWarnings:
		return warnings
	case len(warnings) == maxWarnings:
		return append(warnings, "There are more warnings: see the log of the job.")
	case len(text) > maxWarning:
		text = strings.ToValidUTF8(text[:maxWarning], "") + "…"
	}
	return append(warnings, text)
}

// pause is how long to wait after so many attempts without progress: 1, 2, 4 … 60 seconds (truenas-api.md 5.7).
func pause(wasted int) time.Duration {
	return min(time.Second<<min(max(wasted-1, 0), 6), time.Minute)
}

// attempt plans and runs once.
func (s *Service) attempt(ctx context.Context, d *Definition, config ssh.Config, o replication.Options, log *slog.Logger) (replication.Result, error) {
	e, err := s.connect(ctx, d, config)
	if err != nil {
		return replication.Result{}, err
	}
	defer e.close()
	notes := s.journal.attempt()
	defer notes.over()
	o.Journal = notes
	plan, err := replication.Prepare(ctx, replication.Task{
		Source: d.Sources[0], Target: d.Target, Recursive: d.Recursive, SameSystem: !d.Remote(),
	}, e.source, e.target, o)
	if err != nil {
		return replication.Result{}, err
	}
	streams, snapshots := plan.Streams()
	bytes, _ := plan.Bytes()
	log.Info("planned", "datasets", len(plan.Datasets), "streams", streams, "snapshots", snapshots, "bytes", bytes)
	for _, dp := range plan.Datasets {
		if dp.Note != "" {
			log.Info("note", "dataset", dp.Source, "text", dp.Note)
		}
		for _, step := range dp.Steps {
			log.Debug("stream", "dataset", dp.Source, "target", dp.Target, "kind", step.Kind, "snapshot", step.Send.Snapshot, "from", step.Send.From, "bytes", step.Bytes)
		}
	}
	if plan.Empty() {
		return replication.Result{}, nil
	}
	result, err := replication.Run(ctx, plan, e.source, e.target, o)
	log.Info("ran", "datasets", result.Datasets, "snapshots", result.Snapshots, "bytes", result.Bytes, "seconds", int(result.Elapsed.Seconds()))
	return result, err
}
