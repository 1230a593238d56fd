package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/zferry/zferry/replication"
	"github.com/zferry/zferry/rpc"
)

func newWatchCommand() *cobra.Command {
	var o apiOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "watch JOB",
		Short: "Follow a job to its end",
		Long: `Shows the progress of a job until it ends: a bar on a terminal, JSON lines where the output is none. The job goes on when
this is interrupted. Exit code 1 if the job has not succeeded.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := jobNumber(args[0])
			if err != nil {
				return err
			}
			return watch(cmd, &o, id, asJSON)
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "JSON lines instead of text, the default where the output is no terminal")
	return cmd
}

func jobNumber(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, usageError{fmt.Errorf("%q is not the number of a job", text)}
	}
	return id, nil
}

func watch(cmd *cobra.Command, o *apiOptions, id int64, asJSON bool) error {
	w := newWatcher()
	client, err := o.client(w.event, w.reconnected)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.Subscribe(cmd.Context(), "core.get_jobs"); err != nil {
		return explain(err)
	}
	job, err := w.follow(cmd.Context(), client, id, newJobReport(cmd.OutOrStdout(), cmd.ErrOrStderr(), asJSON || !isTerminal(cmd.OutOrStdout())))
	if err != nil {
		return explain(err)
	}
	return job.failure()
}

// watcher hears of jobs.
type watcher struct {
	events chan apiJob   // the newest ones
	again  chan struct{} // holds a value when events may have been missed
	given  bool          // the host itself has given the number of the job
}

func newWatcher() *watcher {
	return &watcher{events: make(chan apiJob, 256), again: make(chan struct{}, 1)}
}

// event is rpc.ClientOptions.OnEvent. What finds no room is asked for.
func (w *watcher) event(e rpc.Event) {
	var job apiJob
	if e.Collection != "core.get_jobs" || json.Unmarshal(e.Fields, &job) != nil {
		return
	}
	select {
	case w.events <- job:
	default:
		w.reconnected()
	}
}

func (w *watcher) reconnected() {
	select {
	case w.again <- struct{}{}:
	default:
	}
}

// A host that has just been started knows the jobs of a plugin only once that has come back.
const (
	askAgain   = 200 * time.Millisecond
	strangeJob = 3 * time.Second // for one that was never seen
	lostJob    = time.Minute     // for one that was
)

// follow shows a job until it has ended, also over restarts of the host.
func (w *watcher) follow(ctx context.Context, client *rpc.Client, id int64, show jobReporter) (apiJob, error) {
	defer show.stop()
	w.reconnected() // ask once
	patience, missing := strangeJob, time.Time{}
	if w.given {
		patience = lostJob
	}
	for {
		var job apiJob
		select {
		case <-ctx.Done():
			return job, fmt.Errorf("not watched any more (%w): job %d goes on; 'zferry jobs abort %d' would stop it", context.Cause(ctx), id, id)
		case job = <-w.events:
		case <-w.again:
			var found []apiJob
			if err := client.Call(ctx, "core.get_jobs", []any{[]any{[]any{"id", "=", id}}}, &found); err != nil {
				return job, err
			}
			if len(found) > 0 {
				job = found[0]
				break
			}
			if missing.IsZero() {
				missing = time.Now()
			}
			if time.Since(missing) > patience {
				return job, errNoSuchJob
			}
			time.AfterFunc(askAgain, w.reconnected)
		}
		if job.ID != id {
			continue
		}
		patience, missing = lostJob, time.Time{}
		show.job(&job)
		if job.final() {
			return job, nil
		}
	}
}

// jobReporter shows a job to a person or to a program.
type jobReporter interface {
	job(j *apiJob)
	stop()
}

func newJobReport(out, screen io.Writer, asJSON bool) jobReporter {
	if asJSON {
		return jobLines{json.NewEncoder(out)}
	}
	t := &jobText{screen: screen}
	if isTerminal(screen) {
		t.bar = &bar{screen: screen.(*os.File)}
	}
	return t
}

type jobLines struct{ encoder *json.Encoder }

func (l jobLines) job(j *apiJob) {
	// A reader who has gone away ends the command by the next write that is looked at.
	_ = l.encoder.Encode(j)
}

func (jobLines) stop() {}

// jobText shows a bar for what moves bytes, and otherwise a line for each thing that is new.
type jobText struct {
	screen io.Writer
	bar    *bar
	last   string
}

func (t *jobText) job(j *apiJob) {
	if x := j.Progress.Extra; x != nil && t.bar != nil {
		t.bar.show(x.progress())
		return
	}
	line := fmt.Sprintf("job %d %s", j.ID, j.State)
	if j.Progress.Percent != nil {
		line += fmt.Sprintf(" %d%%", *j.Progress.Percent)
	}
	if j.Progress.Description != "" {
		line += " " + j.Progress.Description
	}
	if line != t.last {
		t.last = line
		fmt.Fprintln(t.screen, line)
	}
}

func (t *jobText) stop() {
	if t.bar != nil {
		t.bar.stop()
	}
}

func (x *apiTransfers) progress() replication.Progress {
	p := replication.Progress{
		Dataset: x.Dataset, Snapshot: x.Snapshot, Snapshots: x.SnapshotsSent, SnapshotsTotal: x.SnapshotsTotal,
		Bytes: x.BytesSent, Total: x.BytesTotal, Rate: x.Rate, Left: -1, Elapsed: time.Duration(x.Elapsed * float64(time.Second)),
	}
	if x.Left >= 0 {
		p.Left = time.Duration(x.Left * float64(time.Second))
	}
	return p
}
