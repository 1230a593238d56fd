package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
)

// Task is a task of any kind. What it does is in Data, and none of the store's business.
type Task struct {
	ID      int64 // given by AddTask, and never again to another task
	Name    string
	Enabled bool
	Data    json.RawMessage
	Secret  []byte // sealed in the database; nil if there is none
}

const (
	tasks       = "tasks"
	selectTasks = `SELECT id, name, enabled, data, secret FROM tasks`
)

// AddTask adds a task and returns its id. It returns ErrExist if the name is taken.
func (s *Store) AddTask(ctx context.Context, t Task) (id int64, err error) {
	err = s.write(ctx, "add task", func(tx *sql.Tx) error {
		if id, err = next(ctx, tx, "task_id"); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO tasks (id, name, enabled, data, secret) VALUES ($1, $2, $3, $4, $5)`,
			id, t.Name, t.Enabled, string(t.Data), s.seal(tasks, id, t.Secret))
		return err
	})
	return id, err
}

// UpdateTask replaces a task. It returns ErrNotFound, or ErrExist if the name is taken.
func (s *Store) UpdateTask(ctx context.Context, t Task) error {
	return s.write(ctx, fmt.Sprintf("update task %d", t.ID), func(tx *sql.Tx) error {
		return change(ctx, tx, `UPDATE tasks SET name = $2, enabled = $3, data = $4, secret = $5 WHERE id = $1`,
			t.ID, t.Name, t.Enabled, string(t.Data), s.seal(tasks, t.ID, t.Secret))
	})
}

// DeleteTask removes a task and its state; its runs stay. It returns ErrNotFound if there is none.
func (s *Store) DeleteTask(ctx context.Context, id int64) error {
	return s.write(ctx, fmt.Sprintf("delete task %d", id), func(tx *sql.Tx) error {
		return change(ctx, tx, `DELETE FROM tasks WHERE id = $1`, id)
	})
}

// Task returns a task or ErrNotFound.
func (s *Store) Task(ctx context.Context, id int64) (Task, error) {
	what := fmt.Sprintf("task %d", id)
	rows, err := collect(ctx, s, what, s.scanTask, selectTasks+` WHERE id = $1`, id)
	return only(what, rows, err)
}

// Tasks returns all tasks by id.
func (s *Store) Tasks(ctx context.Context) ([]Task, error) {
	return collect(ctx, s, "list tasks", s.scanTask, selectTasks+` ORDER BY id`)
}

func (s *Store) scanTask(rows *sql.Rows) (t Task, err error) {
	var data, secret string
	if err = rows.Scan(&t.ID, &t.Name, &t.Enabled, &data, &secret); err != nil {
		return t, err
	}
	t.Data = json.RawMessage(data)
	t.Secret, err = s.unseal(tasks, t.ID, secret)
	return t, err
}

// TaskState returns the state that SetTaskState left, or nil.
func (s *Store) TaskState(ctx context.Context, id int64) (json.RawMessage, error) {
	rows, err := collect(ctx, s, "state of a task", scanState, `SELECT task_id, data FROM task_states WHERE task_id = $1`, id)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return rows[0].data, nil
}

// TaskStates returns the states of all tasks that have one.
func (s *Store) TaskStates(ctx context.Context) (map[int64]json.RawMessage, error) {
	rows, err := collect(ctx, s, "states of tasks", scanState, `SELECT task_id, data FROM task_states`)
	if err != nil {
		return nil, err
	}
	states := make(map[int64]json.RawMessage, len(rows))
	for _, r := range rows {
		states[r.id] = r.data
	}
	return states, nil
}

type taskState struct {
	id   int64
	data json.RawMessage
}

func scanState(rows *sql.Rows) (t taskState, err error) {
	var data string
	err = rows.Scan(&t.id, &data)
	t.data = json.RawMessage(data)
	return t, err
}

// SetTaskState keeps the state of a task. It returns ErrNotFound if there is no such task.
func (s *Store) SetTaskState(ctx context.Context, id int64, state json.RawMessage) error {
	return s.write(ctx, fmt.Sprintf("keep state of task %d", id), func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO task_states (task_id, data) VALUES ($1, $2)
			ON CONFLICT (task_id) DO UPDATE SET data = excluded.data`, id, string(state))
		return err
	})
}
