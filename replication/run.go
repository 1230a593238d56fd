package replication

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/zferry/zferry/transport"
	"github.com/zferry/zferry/zfs"
)

// Result is what a run did, also if it failed.
type Result struct {
	Datasets   int // that received something
	Snapshots  int
	Bytes      int64
	Streams    int
	Elapsed    time.Duration
	PerDataset []DatasetResult
}

// DatasetResult is what a run did for one dataset.
type DatasetResult struct {
	Source, Target string
	Snapshots      int
	LastSnapshot   string // full name at the source; "" if none arrived
	Streams        int
	Bytes          int64
	Elapsed        time.Duration
}

// Add adds what a further attempt did.
func (r *Result) Add(more Result) {
	r.Datasets += more.Datasets
	r.Snapshots += more.Snapshots
	r.Bytes += more.Bytes
	r.Streams += more.Streams
	r.Elapsed += more.Elapsed
	r.PerDataset = append(r.PerDataset, more.PerDataset...)
}

// busyWait is how long an ended receive may keep its dataset busy.
const busyWait = 30 * time.Second

// Run carries out a plan, dataset by dataset, parents first, and stops at the first failure. What an interrupted receive has
// taken stays at the target, and the next plan resumes from it. If ctx ends, Run returns its cause once both ends of the
// stream are gone.
func Run(ctx context.Context, plan *Plan, source, target Side, o Options) (Result, error) {
	r := &run{plan: plan, source: source, target: target, o: o, track: newTracker(plan, o.Report)}
	watchCtx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { r.track.watch(watchCtx) })
	err := r.all(ctx)
	stop()
	wg.Wait()
	r.track.publish()
	r.result.Elapsed = time.Since(r.track.begin)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return r.result, err
}

type run struct {
	plan           *Plan
	source, target Side
	o              Options
	track          *tracker
	result         Result
}

func (r *run) all(ctx context.Context) error {
	// One by one: what zfs create -p adds above a dataset it would also mount.
	for _, parent := range r.plan.Create {
		if err := r.target.ZFS.Create(ctx, parent, nil); err != nil {
			return sideError(r.target, err)
		}
	}
	for _, d := range r.plan.Datasets {
		if len(d.Steps) == 0 {
			continue
		}
		if err := r.dataset(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// dataset makes the target ready and carries the dataset's streams.
func (r *run) dataset(ctx context.Context, d DatasetPlan) error {
	if d.Discard {
		if err := r.discard(ctx, d.Target); err != nil {
			return sideError(r.target, err)
		}
	}
	if d.Rollback != "" {
		r.o.warn(fmt.Sprintf("%s: rolling back to %s, %d bytes written after it are undone", r.target.where(), d.Rollback, d.Undone))
		if err := r.target.ZFS.Rollback(ctx, d.Rollback); err != nil {
			return sideError(r.target, err)
		}
	}
	var m transport.Meter
	begin := time.Now()
	r.track.start(d, &m)
	err := r.carry(ctx, d, &m)
	res := DatasetResult{Source: d.Source, Target: d.Target, Bytes: m.Bytes(), Streams: len(d.Steps), Elapsed: time.Since(begin)}
	if err == nil {
		for _, s := range d.Steps {
			res.Snapshots += s.Snapshots
			res.LastSnapshot = s.Send.Snapshot
		}
		r.result.Datasets++
	}
	r.track.finish(err == nil, res.Snapshots)
	r.result.Bytes += res.Bytes
	r.result.Snapshots += res.Snapshots
	r.result.Streams += res.Streams
	r.result.PerDataset = append(r.result.PerDataset, res)
	return err
}

// discard throws partial state away. A receive that was just ended keeps its dataset busy for a moment.
func (r *run) discard(ctx context.Context, dataset string) error {
	for deadline := time.Now().Add(busyWait); ; {
		err := r.target.ZFS.AbortReceive(ctx, dataset)
		if !errors.Is(err, zfs.ErrBusy) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// carry sends all streams of a dataset through one channel.
func (r *run) carry(ctx context.Context, d DatasetPlan, m *transport.Meter) error {
	sends := make([]zfs.Send, len(d.Steps))
	receives := make([]zfs.Receive, len(d.Steps))
	for i, s := range d.Steps {
		sends[i] = s.Send
		receives[i] = zfs.Receive{Dataset: d.Target}
	}
	started := &notes{journal: r.o.Journal}
	err := transport.Pipe(ctx, m, func(ctx context.Context, w io.Writer) error {
		return r.source.ZFS.Send(ctx, sends, w, started.by(r.source, "zfs send "+d.Source, d.Target))
	}, func(ctx context.Context, in io.Reader) error {
		warnings, err := r.target.ZFS.Receive(ctx, receives, in, started.by(r.target, "zfs receive "+d.Target, d.Target))
		for _, w := range warnings {
			r.o.warn(r.target.where() + ": " + w)
		}
		return err
	})
	if jerr := started.settle(ctx, err == nil, r.source, r.target); err == nil {
		err = jerr
	}
	return r.explain(d, err)
}

// explain says at which end and on which system a stream failed.
func (r *run) explain(d DatasetPlan, err error) error {
	var pe *transport.PipeError
	if !errors.As(err, &pe) {
		return err
	}
	side, verb := r.source, "sending "+d.Source
	if pe.First == transport.ReceiveEnd {
		side, verb = r.target, "receiving "+d.Target
	}
	if strings.HasPrefix(err.Error(), side.where()) {
		return fmt.Errorf("%s: %w", verb, err)
	}
	return fmt.Errorf("%s: %s: %w", side.where(), verb, err)
}
