package tasks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	if err := s.begin(id, h.ID()); err != nil {
		return err
	}
	run := store.Run{TaskID: id, JobID: h.ID(), Started: time.Now(), Outcome: string(Running), Restart: restart}
	if run.ID, err = s.store.AddRun(ctx, run); err != nil {
		s.end(id)
		return err
	}
	s.changed(ctx, id)
	result, warnings, err := s.carry(ctx, h, &e.Definition, log, func(p replication.Progress) { s.moved(id, p) })
	return s.finish(ctx, e, run, result, warnings, err)
}

// RunOnce carries out a definition that is not kept, as the work of a job.
func (s *Service) RunOnce(ctx context.Context, h *jobs.Handle, d Definition) error {
	d.OneTime = true
	d.Name = fmt.Sprintf("Temporary replication task for job %d", h.ID())
	bad, err := s.check(ctx, &d)
	if err != nil {
		return err
	}
	if err := bad.Err(); err != nil {
		return err
	}
	_, _, err = s.carry(ctx, h, &d, logger(h, &d), func(replication.Progress) {})
	return err
}

// begin notes that a job runs the task.
func (s *Service) begin(id, job int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live[id] != nil {
		return ErrRunning
	}
	s.live[id] = &live{job: job, state: State{Phase: Running, At: time.Now(), Job: job}}
	return nil
}

func (s *Service) end(id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, id)
}

func (s *Service) moved(id int64, p replication.Progress) {
	s.mu.Lock()
	if run := s.live[id]; run != nil {
		run.state.Progress, run.state.At = &p, time.Now()
	}
	s.mu.Unlock()
}

// changed tells that the state of a task has changed. A task that was deleted meanwhile has none.
func (s *Service) changed(ctx context.Context, id int64) {
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
	kept := errors.Join(s.store.FinishRun(ctx, run), s.keepState(ctx, e.ID, state))
	s.end(e.ID)
	s.changed(ctx, e.ID)
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
	var config ssh.Config
	if d.Remote() {
		if config, err = s.keychain.Config(ctx, *d.SSHCredentials); err != nil {
			return total, nil, err
		}
	}
	o := replication.Options{
		Journal: s.journal,
		Report: func(p replication.Progress) {
			moved(p)
			h.Progress(jobProgress(p))
		},
		Warn: func(text string) {
			log.Warn("warning", "text", text)
			warnings = append(warnings, text)
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
		wait := min(time.Second<<wasted, time.Minute)
		log.Warn("the connection failed, trying again", "err", err, "in", wait)
		h.Progress(jobs.Progress{Description: fmt.Sprintf("The connection failed, trying again in %v: %v", wait, err)})
		select {
		case <-ctx.Done():
			return total, warnings, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// attempt plans and runs once.
func (s *Service) attempt(ctx context.Context, d *Definition, config ssh.Config, o replication.Options, log *slog.Logger) (replication.Result, error) {
	e, err := s.connect(ctx, d, config)
	if err != nil {
		return replication.Result{}, err
	}
	defer e.close()
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
	if err != nil {
		log.Error("failed", "err", err)
	}
	return result, err
}

// logger writes the job's log, as much of it as the task wants.
func logger(h *jobs.Handle, d *Definition) *slog.Logger {
	level := slog.LevelInfo
	if d.LoggingLevel != nil {
		// WARNING is the API's word for WARN; the others are slog's own, and Check takes no more.
		if *d.LoggingLevel == "WARNING" {
			level = slog.LevelWarn
		} else if err := level.UnmarshalText([]byte(*d.LoggingLevel)); err != nil {
			level = slog.LevelInfo
		}
	}
	return slog.New(leveled{jobs.LineHandler(h.Log(), fmt.Sprintf("job_%d", h.ID()), "replication"), level})
}

// leveled drops what is below a level.
type leveled struct {
	slog.Handler
	level slog.Level
}

func (l leveled) Enabled(_ context.Context, level slog.Level) bool { return level >= l.level }

func (l leveled) WithAttrs(attrs []slog.Attr) slog.Handler {
	return leveled{l.Handler.WithAttrs(attrs), l.level}
}

func (l leveled) WithGroup(name string) slog.Handler {
	return leveled{l.Handler.WithGroup(name), l.level}
}
