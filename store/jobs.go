package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"
)

// Job is a job as package jobs has it, encoded in Data; beside it what the database needs to know.
type Job struct {
	ID       int64
	Rev      uint64 // not given back: it is in Data
	State    string
	Finished time.Time
	Data     json.RawMessage
}

// LoadJobs returns all jobs by id, and the highest id and rev that were ever written.
func (s *Store) LoadJobs(ctx context.Context) (jobs []Job, id int64, rev uint64, err error) {
	const what = "load jobs"
	jobs, err = collect(ctx, s, what, func(rows *sql.Rows) (j Job, err error) {
		var finished int64
		var data string
		err = rows.Scan(&j.ID, &j.State, &finished, &data)
		j.Finished, j.Data = fromNanos(finished), json.RawMessage(data)
		return j, err
	}, `SELECT id, state, finished, data FROM jobs ORDER BY id`)
	if err != nil {
		return nil, 0, 0, err
	}
	err = s.reader.QueryRowContext(ctx, `SELECT
		COALESCE((SELECT value FROM counters WHERE name = $1), 0),
		COALESCE((SELECT value FROM counters WHERE name = $2), 0)`, lastJob, lastRev).Scan(&id, &rev)
	return jobs, id, rev, s.explain(what, err)
}

// InsertJob adds a job and raises the last id and rev to its own. It returns ErrExist if there is one with this id.
func (s *Store) InsertJob(ctx context.Context, j Job) error {
	return s.write(ctx, fmt.Sprintf("add job %d", j.ID), func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO jobs (id, state, finished, data) VALUES ($1, $2, $3, $4)`,
			j.ID, j.State, nanos(j.Finished), string(j.Data))
		if err != nil {
			return err
		}
		if err := raise(ctx, tx, lastJob, j.ID); err != nil {
			return err
		}
		return raise(ctx, tx, lastRev, int64(j.Rev))
	})
}

// UpdateJob replaces a job and raises the last rev to its own. It returns ErrNotFound if there is none.
func (s *Store) UpdateJob(ctx context.Context, j Job) error {
	return s.write(ctx, fmt.Sprintf("update job %d", j.ID), func(tx *sql.Tx) error {
		err := change(ctx, tx, `UPDATE jobs SET state = $2, finished = $3, data = $4 WHERE id = $1`,
			j.ID, j.State, nanos(j.Finished), string(j.Data))
		if err != nil {
			return err
		}
		return raise(ctx, tx, lastRev, int64(j.Rev))
	})
}

// DeleteJobs removes jobs. Those that are not there are passed over.
func (s *Store) DeleteJobs(ctx context.Context, ids []int64) error {
	return s.write(ctx, "delete jobs", func(tx *sql.Tx) error {
		for _, id := range ids {
			if _, err := tx.ExecContext(ctx, `DELETE FROM jobs WHERE id = $1`, id); err != nil {
				return err
			}
		}
		return nil
	})
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
