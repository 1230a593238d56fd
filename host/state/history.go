package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
)

// Job is a state of a job that is kept.
type Job struct {
	ID     int64
	Series int64 // of which its id is
	Rev    uint64
	Final  bool            // it has ended
	Data   json.RawMessage // everything else; without secrets
}

// Jobs lists the jobs that are kept, by id.
func (s *Store) Jobs(ctx context.Context) ([]Job, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT id, series, rev, final, data FROM jobs ORDER BY id")
	if err != nil {
		return nil, fmt.Errorf("kept jobs: %w", err)
	}
	defer rows.Close()
	var all []Job
	for rows.Next() {
		var j Job
		var rev int64
		var data string
		if err := rows.Scan(&j.ID, &j.Series, &rev, &j.Final, &data); err != nil {
			return nil, fmt.Errorf("kept jobs: %w", err)
		}
		j.Rev, j.Data = uint64(max(0, rev)), json.RawMessage(data)
		all = append(all, j)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("kept jobs: %w", err)
	}
	return all, nil
}

// KeepJobs keeps new states of jobs in place of older ones, all or none, and forgets those that are gone, and of each series the
// finished ones beyond most, the oldest first.
func (s *Store) KeepJobs(ctx context.Context, changed []Job, gone []int64, most int) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		for _, id := range gone {
			if _, err := tx.ExecContext(ctx, "DELETE FROM jobs WHERE id = ?", id); err != nil {
				return fmt.Errorf("keep jobs: %w", err)
			}
		}
		series := make(map[int64]bool)
		for _, j := range changed {
			_, err := tx.ExecContext(ctx, "INSERT INTO jobs (id, series, rev, final, data) VALUES (?, ?, ?, ?, ?) "+
				"ON CONFLICT (id) DO UPDATE SET rev = excluded.rev, final = excluded.final, data = excluded.data",
				j.ID, j.Series, int64(min(j.Rev, math.MaxInt64)), j.Final, string(j.Data))
			if err != nil {
				return fmt.Errorf("keep jobs: %w", err)
			}
			series[j.Series] = series[j.Series] || j.Final
		}
		for number, ended := range series {
			if !ended {
				continue
			}
			_, err := tx.ExecContext(ctx, "DELETE FROM jobs WHERE series = ? AND final AND id NOT IN "+
				"(SELECT id FROM jobs WHERE series = ? AND final ORDER BY rev DESC, id DESC LIMIT ?)", number, number, most)
			if err != nil {
				return fmt.Errorf("keep jobs: %w", err)
			}
		}
		return nil
	})
}
