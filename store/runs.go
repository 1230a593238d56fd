package store

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"strings"
	"time"
)

// Run is one run of a task, kept after its job is forgotten and its task deleted.
type Run struct {
	ID        int64 // given by AddRun
	TaskID    int64
	JobID     int64
	Started   time.Time
	Finished  time.Time // zero while it runs
	Outcome   string
	Message   string
	Bytes     int64
	Snapshots int64
	Datasets  int64
	Restart   bool // it took up the work of a run that was cut short
}

const selectRuns = `SELECT id, task_id, job_id, started, finished, outcome, message, bytes, snapshots, datasets, restarted FROM runs`

// AddRun adds a run and returns its id.
func (s *Store) AddRun(ctx context.Context, r Run) (id int64, err error) {
	err = s.write(ctx, "add run", func(tx *sql.Tx) error {
		if id, err = next(ctx, tx, "run_id"); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO runs
			(id, task_id, job_id, started, finished, outcome, message, bytes, snapshots, datasets, restarted)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
			id, r.TaskID, r.JobID, nanos(r.Started), nanos(r.Finished), r.Outcome, strings.ToValidUTF8(r.Message, "\uFFFD"),
			r.Bytes, r.Snapshots, r.Datasets, r.Restart)
		return err
	})
	return id, err
}

// FinishRun replaces everything but task, job and start of a run. It returns ErrNotFound if there is none.
func (s *Store) FinishRun(ctx context.Context, r Run) error {
	return s.write(ctx, fmt.Sprintf("finish run %d", r.ID), func(tx *sql.Tx) error {
		return change(ctx, tx, `UPDATE runs SET finished = $2, outcome = $3, message = $4, bytes = $5, snapshots = $6,
			datasets = $7, restarted = $8 WHERE id = $1`,
			r.ID, nanos(r.Finished), r.Outcome, strings.ToValidUTF8(r.Message, "\uFFFD"), r.Bytes, r.Snapshots, r.Datasets, r.Restart)
	})
}

// Runs returns the last runs of a task, newest first; limit 0 is all. Task 0 stands for all tasks.
func (s *Store) Runs(ctx context.Context, task int64, limit int) ([]Run, error) {
	const what = "list runs"
	if limit <= 0 {
		limit = math.MaxInt
	}
	if task == 0 {
		return collect(ctx, s, what, scanRun, selectRuns+` ORDER BY id DESC LIMIT $1`, limit)
	}
	return collect(ctx, s, what, scanRun, selectRuns+` WHERE task_id = $1 ORDER BY id DESC LIMIT $2`, task, limit)
}

// UnfinishedRuns returns the runs that nobody has finished: after a crash, those that it cut short.
func (s *Store) UnfinishedRuns(ctx context.Context) ([]Run, error) {
	return collect(ctx, s, "list unfinished runs", scanRun, selectRuns+` WHERE finished = 0 ORDER BY id`)
}

func scanRun(rows *sql.Rows) (r Run, err error) {
	var started, finished int64
	err = rows.Scan(&r.ID, &r.TaskID, &r.JobID, &started, &finished, &r.Outcome, &r.Message,
		&r.Bytes, &r.Snapshots, &r.Datasets, &r.Restart)
	r.Started, r.Finished = fromNanos(started), fromNanos(finished)
	return r, err
}
