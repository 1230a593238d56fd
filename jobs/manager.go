// Package jobs runs long work as tracked jobs: ids, states, progress, logs, locks, abort and history. It publishes every
// change, and keeps jobs in a Store so that their ids and outcomes outlive the program.
package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

var (
	// ErrNotFound is returned for an id that names no job.
	ErrNotFound = errors.New("no such job")
	// ErrNoLog is returned by OpenLog for a job without a log.
	ErrNoLog = errors.New("job has no log")
	// ErrNoSeries is returned by Start before SetSeries.
	ErrNoSeries = errors.New("job ids are not known yet")
	// ErrDraining is returned by Start once Drain was called.
	ErrDraining = errors.New("no new jobs: the program is about to end")
	// ErrClosed is returned by Start once Close was called, and is the cause with which Close stops jobs.
	ErrClosed = errors.New("job manager is closed")

	// ErrAborted is the cause with which Abort stops a job.
	ErrAborted = errors.New("job aborted")
	// ErrDrained is, or is wrapped by, the cause with which Drain stops jobs.
	ErrDrained = errors.New("stopped because the program is about to end")
	// ErrInterrupted is why jobs failed that Open found unfinished.
	ErrInterrupted = errors.New("interrupted: the program ended before the job did")
)

// Store keeps jobs over restarts. The Manager calls one method at a time. Both Insert and Update also raise the last rev to
// the job's, in the same transaction.
type Store interface {
	// Load returns every job, the highest id that was ever inserted and the highest rev.
	Load(ctx context.Context) (jobs []Job, lastID int64, lastRev uint64, err error)
	// Insert adds a job and raises the last id to its, for ever. If it returns an error, it has done neither.
	Insert(ctx context.Context, j Job) error
	// Update replaces a job. It comes with changes of state; progress in between is not stored.
	Update(ctx context.Context, j Job) error
	// Delete removes jobs. The last id and the last rev stay.
	Delete(ctx context.Context, ids []int64) error
}

// Config is what a Manager needs.
type Config struct {
	Store Store
	// LogDir is the folder of the jobs' logs, made with mode 0700. It must hold nothing else. Empty: there are no logs.
	LogDir string
	// LogLimit is how large a log may get, in bytes; 0 is 8 MiB.
	LogLimit int64
	// Keep is how many jobs that have ended are remembered; 0 is 1000.
	Keep int
	// Publish is called with each change of a job, transient ones included; nil is nobody. Calls for one job come in order
	// and with rising revs, and its final state comes last. It is called under a lock: it must not block, and must not
	// call the Manager.
	Publish func(Job)
	// Explain turns the error of a job into what clients are told; nil gives its text. It gets what Func returned, or
	// the cause with which the job was stopped.
	Explain func(error) Failure
	Log     *slog.Logger // nil discards
}

// Manager runs jobs. It owns the goroutine of each.
type Manager struct {
	cfg    Config
	update func(Job) error // writes to the store on nobody's behalf
	remove func(ids []int64) error
	wg     sync.WaitGroup

	write   sync.Mutex       // held over each change of a state and its way into the store; taken before mu
	unsaved map[int64]*entry // guarded by write: what the store did not take yet

	mu          sync.Mutex // guards what follows; never held while the store writes
	closed      error      // why Start refuses, nil while it does not
	first, step int64      // the series, step 0 while it is not known
	lastID      int64
	lastRev     uint64
	jobs        map[int64]*entry
	history     []int64 // those of jobs that have ended, in that order
	locks       map[string]*lock
}

// entry is a job of the Manager. What can change is guarded by Manager.mu.
type entry struct {
	id     int64
	cancel context.CancelCauseFunc // nil if an earlier life of the program ran it
	lock   string
	turn   chan struct{} // closed when it has its lock
	done   chan struct{} // closed when job is final
	log    *logFile      // nil if it has none; set before its Func is called

	job     Job
	settled bool        // the outcome is known and on its way into the store: reports of progress are too late
	shown   time.Time   // when progress was published
	held    *time.Timer // will publish progress that came too soon after
}

// SetSeries says which ids new jobs get: those that leave the same rest as first when divided by step, always higher than
// every id before.
func (m *Manager) SetSeries(first, step int64) error {
	if first < 0 || step < 1 {
		return fmt.Errorf("job ids from %d by %d make no series", first, step)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.first, m.step = first, step
	return nil
}

// takeIDLocked returns the next id. It is used up even if no job comes of it: the store may have seen it.
func (m *Manager) takeIDLocked() int64 {
	id := m.lastID + 1
	if off := (id - m.first) % m.step; off != 0 {
		id += (m.step - off) % m.step
	}
	m.lastID = id
	return id
}

func (m *Manager) takeRevLocked() uint64 {
	m.lastRev++
	return m.lastRev
}

func (m *Manager) publishLocked(j Job) {
	if m.cfg.Publish != nil {
		m.cfg.Publish(j)
	}
}

// Drain refuses new jobs from now on, stops all that have not ended with ErrDrained and the cause, which may be nil, and
// waits until they have ended or ctx is done. It returns the ids of those that were cut short, or have not ended yet.
func (m *Manager) Drain(ctx context.Context, cause error) (interrupted []int64) {
	if cause == nil {
		cause = ErrDrained
	} else {
		cause = fmt.Errorf("%w: %w", ErrDrained, cause)
	}
	stopped := m.stopAll(ErrDraining, cause)
	for _, e := range stopped {
		select {
		case <-e.done:
		case <-ctx.Done(): // those that have ended by then are still told from the others
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range stopped {
		if !e.job.State.Final() || e.job.Interrupted {
			interrupted = append(interrupted, e.job.ID)
		}
	}
	return interrupted
}

// Close refuses new jobs, stops those that have not ended, and returns when all have. A second call does the same, with
// nothing left to stop.
func (m *Manager) Close() {
	m.stopAll(ErrClosed, ErrClosed)
	m.wg.Wait()
	m.write.Lock()
	defer m.write.Unlock()
	m.retryWriting()
	for id := range m.unsaved {
		m.cfg.Log.Error("outcome of a job is lost: the store did not take it", "job", id)
	}
}

// stopAll lets Start return refusal, cancels what has not ended, and returns it, oldest first.
func (m *Manager) stopAll(refusal, cause error) []*entry {
	m.mu.Lock() // but not write: a disk that hangs must not be in the way
	defer m.mu.Unlock()
	if m.closed == nil || errors.Is(refusal, ErrClosed) {
		m.closed = refusal
	}
	var stopped []*entry
	for _, id := range slices.Sorted(maps.Keys(m.jobs)) {
		if e := m.jobs[id]; !e.job.State.Final() {
			m.stopLocked(e, cause)
			stopped = append(stopped, e)
		}
	}
	return stopped
}

// stopLocked cancels a job. One that waits for its lock waits no more.
func (m *Manager) stopLocked(e *entry, cause error) {
	e.cancel(cause)
	if l := m.locks[e.lock]; l != nil {
		l.leave(e)
	}
}
