package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// revBlock parts the revs of one life of the program from those of the next. Progress is published with revs that the store
// never sees, so Open goes on well above the highest stored one. Numbers stay exact in JavaScript for two million lives in
// which jobs ran.
const revBlock = 1 << 32

// Open returns a Manager with the jobs that the store has. Those that had not ended when the program did are failed with
// ErrInterrupted now, and are returned too; nothing is published. ctx counts for the opening, its values also later.
func Open(ctx context.Context, cfg Config) (m *Manager, interrupted []Job, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Explain == nil {
		cfg.Explain = func(err error) Failure { return Failure{Error: err.Error()} }
	}
	cfg.Keep = cmp.Or(cfg.Keep, 1000)
	cfg.LogLimit = cmp.Or(cfg.LogLimit, 8<<20)
	if cfg.LogDir != "" {
		if err := privateDir(cfg.LogDir); err != nil {
			return nil, nil, fmt.Errorf("folder of job logs: %w", err)
		}
	}
	loaded, lastID, lastRev, err := cfg.Store.Load(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("load jobs: %w", err)
	}
	lasting := context.WithoutCancel(ctx)
	m = &Manager{
		cfg:     cfg,
		update:  func(j Job) error { return cfg.Store.Update(lasting, j) },
		remove:  func(ids []int64) error { return cfg.Store.Delete(lasting, ids) },
		unsaved: map[int64]*entry{},
		lastID:  lastID,
		jobs:    make(map[int64]*entry, len(loaded)),
		locks:   map[string]*lock{},
	}
	m.write.Lock()
	defer m.write.Unlock()
	for _, j := range loaded {
		m.lastID = max(m.lastID, j.ID)
		lastRev = max(lastRev, j.Rev)
	}
	m.lastRev = (lastRev/revBlock + 1) * revBlock
	interrupted = m.adopt(loaded)
	m.forgetWriting()
	m.sweepLogs()
	return m, interrupted, nil
}

// adopt takes over the jobs of earlier lives and returns those that were cut short by the end of the last one. Nobody else
// has the Manager yet.
func (m *Manager) adopt(loaded []Job) (interrupted []Job) {
	slices.SortFunc(loaded, func(a, b Job) int { return cmp.Compare(a.ID, b.ID) })
	now := time.Now()
	var left []int64
	for _, j := range loaded {
		if j.Transient {
			left = append(left, j.ID)
			continue
		}
		if j.LogsPath != "" && m.cfg.LogDir != "" {
			j.LogsPath = m.logPath(j.ID) // the folder may have moved
		}
		e := &entry{id: j.ID, job: j, settled: true, done: make(chan struct{})}
		close(e.done)
		m.jobs[j.ID] = e
		if j.State.Final() {
			continue
		}
		f := m.cfg.Explain(ErrInterrupted)
		e.job.State, e.job.Failure, e.job.Interrupted = Failed, &f, true
		e.job.Finished, e.job.Rev = now, m.takeRevLocked()
		if j.LogsPath != "" {
			e.job.LogsExcerpt = excerpt(j.LogsPath)
		}
		m.saveWriting(e, e.job)
		interrupted = append(interrupted, e.job)
	}
	if len(left) > 0 {
		m.removeWriting(left)
	}
	for id := range m.jobs {
		m.history = append(m.history, id)
	}
	slices.SortFunc(m.history, func(a, b int64) int {
		return cmp.Or(m.jobs[a].job.Finished.Compare(m.jobs[b].job.Finished), cmp.Compare(a, b))
	})
	return interrupted
}

// privateDir makes a folder that only we may enter, or makes it so.
func privateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.Chmod(dir, 0o700) //nolint:gosec // G302: a folder must be searchable
}

// sweepLogs removes the logs of jobs that are forgotten.
func (m *Manager) sweepLogs() {
	if m.cfg.LogDir == "" {
		return
	}
	files, err := os.ReadDir(m.cfg.LogDir)
	if err != nil {
		m.cfg.Log.Warn("job logs cannot be listed", "error", err)
	}
	for _, f := range files {
		id, err := strconv.ParseInt(strings.TrimSuffix(f.Name(), ".log"), 10, 64)
		if err != nil || m.logPath(id) != filepath.Join(m.cfg.LogDir, f.Name()) || m.jobs[id] != nil {
			continue
		}
		m.removeLog(id)
	}
}

func (m *Manager) removeLog(id int64) {
	if m.cfg.LogDir == "" {
		return
	}
	if err := os.Remove(m.logPath(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		m.cfg.Log.Warn("log of a forgotten job cannot be removed", "job", id, "error", err)
	}
}
