package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// NoQueue is the QueueSize of a job that does not wait for its lock.
const NoQueue = -1

// Func is the work of a job. It must return soon after ctx is done; context.Cause tells why it is: ErrAborted, ErrDrained or
// ErrClosed. It fails the job by returning an error or by a panic. Once ctx is done, an error of any kind counts as the
// consequence of that, while nil means that the work was completed all the same.
type Func func(ctx context.Context, h *Handle) (any, error)

// Spec says what a new job is.
type Spec struct {
	Method      string
	Description string
	Arguments   json.RawMessage // what clients see of them: secrets must be masked
	MessageID   json.RawMessage // of the call; nil if there is none
	Credentials json.RawMessage
	Owner       string
	ReadRoles   []string
	Abortable   bool
	Transient   bool
	Logs        bool // it has a log
	// Lock is a name. Jobs of the same name run one at a time, in the order of their start. Empty: it waits for nobody.
	Lock string
	// QueueSize is how many jobs may wait for the lock; 0 is 5.
	QueueSize int
	Key       string
	Restart   bool
	Run       Func
}

// BusyError says that a job was not started because of others with its lock. Its text is what clients are told.
type BusyError struct {
	Lock   string
	Others bool // the jobs that wait are other users'
}

func (e *BusyError) Error() string {
	if e.Others {
		return "This job is already being performed by another user"
	}
	return "This job is already being performed"
}

// Start makes a job, which runs in the background, and returns it as it is when it waits. The job outlives ctx but has its
// values. When as many jobs wait for the lock as may, the newest of them with the same owner is joined: it gets the message
// id and is returned. When there is none, or none may wait, Start returns a *BusyError. Other errors are ErrNoSeries,
// ErrDraining, ErrClosed, and that of the store. After an error there is no new job.
func (m *Manager) Start(ctx context.Context, s Spec) (Job, error) {
	m.write.Lock()
	defer m.write.Unlock()
	m.mu.Lock()
	other, err := m.admitLocked(s)
	if err != nil {
		m.mu.Unlock()
		return Job{}, err
	}
	if other != nil {
		m.mu.Unlock()
		return m.joinWriting(other, s), nil
	}
	job := m.newJobLocked(s)
	m.mu.Unlock()

	if err := m.cfg.Store.Insert(ctx, job); err != nil {
		return Job{}, fmt.Errorf("store job: %w", err)
	}
	m.retryWriting()

	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	e := &entry{
		id: job.ID, cancel: cancel, lock: s.Lock, job: job,
		turn: make(chan struct{}), done: make(chan struct{}),
	}
	if err := m.launch(ctx, e, s); err != nil {
		cancel(err)
		m.removeWriting([]int64{job.ID})
		return Job{}, err
	}
	return job, nil
}

// launch begins the life of a job, unless the Manager was closed while the store wrote.
func (m *Manager) launch(ctx context.Context, e *entry, s Spec) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed != nil {
		return m.closed
	}
	m.jobs[e.id] = e
	m.publishLocked(e.job)
	m.lockLocked(e)
	m.wg.Go(func() { m.run(ctx, e, s) })
	return nil
}

// admitLocked decides whether there will be a new job, or another is joined, or neither.
func (m *Manager) admitLocked(s Spec) (join *entry, err error) {
	switch {
	case m.closed != nil:
		return nil, m.closed
	case m.step == 0:
		return nil, ErrNoSeries
	}
	l := m.locks[s.Lock] // there is none for jobs without a lock: they never share a queue
	if l == nil {
		return nil, nil
	}
	size := s.QueueSize
	if size == 0 {
		size = 5
	}
	if len(l.queue) < size {
		return nil, nil
	}
	if size < 0 {
		return nil, &BusyError{Lock: s.Lock}
	}
	for _, e := range slices.Backward(l.queue) {
		if e.job.Owner == s.Owner {
			return e, nil
		}
	}
	return nil, &BusyError{Lock: s.Lock, Others: true}
}

func (m *Manager) joinWriting(e *entry, s Spec) Job {
	if s.MessageID == nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		return e.job
	}
	return m.changeWriting(e, func(j *Job) {
		j.MessageIDs = append(slices.Clone(j.MessageIDs), s.MessageID)
	})
}

func (m *Manager) newJobLocked(s Spec) Job {
	j := Job{
		ID: m.takeIDLocked(), Rev: m.takeRevLocked(),
		Method: s.Method, Description: s.Description, Arguments: s.Arguments,
		Credentials: s.Credentials, Owner: s.Owner, ReadRoles: s.ReadRoles,
		Transient: s.Transient, Abortable: s.Abortable, Key: s.Key, Restart: s.Restart,
		State: Waiting, Progress: Progress{Percent: Percent(0)}, Created: time.Now(),
	}
	if s.MessageID != nil {
		j.MessageIDs = []json.RawMessage{s.MessageID}
	}
	if m.logs(s) {
		j.LogsPath = m.logPath(j.ID)
	}
	return j
}

// lock is the jobs that want one name. It exists while one of them has it.
type lock struct {
	holder *entry
	queue  []*entry
}

func (l *lock) leave(e *entry) {
	if i := slices.Index(l.queue, e); i >= 0 {
		l.queue = slices.Delete(l.queue, i, i+1)
	}
}

// lockLocked gives a job its lock, or puts it in the queue.
func (m *Manager) lockLocked(e *entry) {
	l := m.locks[e.lock]
	switch {
	case e.lock == "":
		close(e.turn)
	case l == nil:
		m.locks[e.lock] = &lock{holder: e}
		close(e.turn)
	default:
		l.queue = append(l.queue, e)
	}
}

// unlockLocked gives the lock of a job to the next in the queue.
func (m *Manager) unlockLocked(e *entry) {
	l := m.locks[e.lock]
	if l == nil || l.holder != e {
		return
	}
	if len(l.queue) == 0 {
		delete(m.locks, e.lock)
		return
	}
	l.holder = l.queue[0]
	l.queue = slices.Delete(l.queue, 0, 1)
	close(l.holder.turn)
}
