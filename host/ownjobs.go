package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/zferry/zferry/host/state"
	"github.com/zferry/zferry/rpc"
)

// errAborted is the cause with which a job of the host's own is cancelled.
var errAborted = errors.New("aborted")

// ownJobs are the jobs of the host itself. What has not ended when the host does has failed at the next start.
type ownJobs struct {
	store *state.Store
	work  *work
	table *jobTable

	mu     sync.Mutex // guards the fields below
	rev    uint64
	cancel map[int64]context.CancelCauseFunc
	locks  map[string][]*ownJob // who has each lock, and who waits for it
}

// maxWaiting is how many jobs may wait for a lock.
const maxWaiting = 5

// ownSpec is what a job of the host's own is to be.
type ownSpec struct {
	method string
	params json.RawMessage
	lock   string // jobs with the same lock run one after the other; "" is none
	// run must give the job a final state, unless its context has ended.
	run func(ctx context.Context, j *ownJob)
}

func newOwnJobs(ctx context.Context, kept *history, w *work, publish func(jobChange)) (*ownJobs, error) {
	o := &ownJobs{store: kept.store, work: w, table: newJobTable(0, publish), cancel: make(map[int64]context.CancelCauseFunc), locks: make(map[string][]*ownJob)}
	o.table.history = kept
	all, err := kept.load(ctx)
	if err != nil {
		return nil, err
	}
	for _, e := range all[0] {
		o.rev = max(o.rev, e.rev)
	}
	for i, e := range all[0] {
		if e.final() {
			continue
		}
		job := e.wireJob
		job.fail(rpc.Errorf(rpc.EFAULT, "The server ended before the job did"))
		job.TimeFinished = mustJSON(rpc.Date(time.Now()))
		all[0][i] = newEntry(job, o.nextRev(), e.audience)
		kept.note(all[0][i], false)
	}
	o.table.recall(all[0])
	return o, nil
}

// ownJob is one of them.
type ownJob struct {
	jobs     *ownJobs
	audience audience
	lock     string
	turn     chan struct{} // closed when the lock is this job's

	mu   sync.Mutex // guards wire; held while the table is told
	wire wireJob
}

// start makes a job of a call and runs it. A call whose client wants it so is answered at the end of the job.
func (o *ownJobs) start(ctx context.Context, spec ownSpec) (any, error) {
	c := callOf(ctx)
	j, err := o.add(ctx, c, spec)
	if err != nil {
		return nil, err
	}
	if c.id == nil || c.session.currentOptions().LegacyJobs {
		return j.wire.ID, nil
	}
	rpc.ReleaseSlot(ctx)
	e, err := o.table.await(ctx, j.wire.ID, func() error { return errNoJob(j.wire.ID) })
	if err != nil {
		return nil, err
	}
	return e.outcome()
}

func (o *ownJobs) add(ctx context.Context, c *call, spec ownSpec) (*ownJob, error) {
	j := &ownJob{jobs: o, audience: audience{Owner: &c.who.user}, lock: spec.lock, turn: make(chan struct{})}
	if err := o.queue(j); err != nil {
		return nil, err
	}
	id, err := o.store.NextJobID(ctx, jobStep)
	if err != nil {
		o.unlock(j)
		return nil, err
	}
	j.wire = wireJob{
		ID: id, Method: spec.method, Arguments: redactCall(spec.method, spec.params), Abortable: true, State: stateWaiting,
		Progress:    noProgress(),
		TimeStarted: mustJSON(rpc.Date(time.Now())), Credentials: c.who.credentials,
	}
	if c.id != nil {
		j.wire.MessageIDs = []json.RawMessage{c.id}
	}
	running, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	o.setCancel(id, cancel) // before anybody knows of the job, so that it can be aborted from the first moment on
	j.update(func(*wireJob) {})
	o.work.start(ctx, func(ctx context.Context) {
		defer o.unlock(j)
		defer context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })()
		defer o.setCancel(id, nil)
		defer cancel(nil)
		j.run(running, spec.run)
	})
	return j, nil
}

// run waits for the job's turn and runs it.
func (j *ownJob) run(ctx context.Context, do func(ctx context.Context, j *ownJob)) {
	select {
	case <-j.turn:
	case <-ctx.Done():
	}
	if ctx.Err() == nil {
		j.update(func(w *wireJob) { w.State = stateRunning })
		do(ctx, j)
	} else if errors.Is(context.Cause(ctx), errAborted) {
		j.update(func(w *wireJob) { w.State = stateAborted })
	}
}

// end gives the job the state that err leads to. That of a job which ended with the host is told at the next start.
func (j *ownJob) end(ctx context.Context, err error) {
	switch {
	case errors.Is(err, errAborted):
		j.update(func(w *wireJob) { w.State = stateAborted })
	case err != nil && ctx.Err() == nil:
		j.update(func(w *wireJob) { w.fail(err) })
	}
}

// queue lets the job wait for its lock.
func (o *ownJobs) queue(j *ownJob) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	waiting := o.locks[j.lock]
	if j.lock == "" || len(waiting) == 0 {
		close(j.turn)
	}
	if j.lock == "" {
		return nil
	}
	if len(waiting) > maxWaiting {
		for _, other := range waiting {
			if *other.audience.Owner == *j.audience.Owner {
				return rpc.Errorf(rpc.EBUSY, "This job is already being performed")
			}
		}
		return rpc.Errorf(rpc.EBUSY, "This job is already being performed by another user")
	}
	o.locks[j.lock] = append(waiting, j)
	return nil
}

// unlock takes the job out of the queue for its lock, and hands that on if the job had it.
func (o *ownJobs) unlock(j *ownJob) {
	o.mu.Lock()
	defer o.mu.Unlock()
	queue := o.locks[j.lock]
	i := slices.Index(queue, j)
	if i < 0 {
		return
	}
	queue = slices.Delete(queue, i, i+1)
	if len(queue) == 0 {
		delete(o.locks, j.lock)
		return
	}
	o.locks[j.lock] = queue
	if i == 0 {
		close(queue[0].turn)
	}
}

func (o *ownJobs) setCancel(id int64, cancel context.CancelCauseFunc) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if cancel == nil {
		delete(o.cancel, id)
		return
	}
	o.cancel[id] = cancel
}

func (o *ownJobs) abort(id int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if cancel := o.cancel[id]; cancel != nil {
		cancel(errAborted)
	}
}

func (o *ownJobs) nextRev() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rev++
	return o.rev
}

// update changes the job and publishes it.
func (j *ownJob) update(change func(w *wireJob)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	change(&j.wire)
	if j.wire.final() {
		j.wire.TimeFinished = mustJSON(rpc.Date(time.Now()))
	}
	// It is of the table's series and its revisions only rise.
	_ = j.jobs.table.accept(newEntry(j.wire, j.jobs.nextRev(), j.audience), 1)
}

// jobWait is a job that does what another one does.
func (h *Host) jobWait(ctx context.Context, params json.RawMessage) (any, error) {
	who := callOf(ctx).who
	return h.own.start(ctx, ownSpec{method: "core.job_wait", params: params, run: func(ctx context.Context, j *ownJob) {
		in, err := rpc.Bind[jobArgs](params)
		if err == nil {
			err = h.follow(ctx, who, in.ID, j)
		}
		j.end(ctx, err)
	}})
}

// follow makes j like the job with that id, until that has ended. It returns nil then.
func (h *Host) follow(ctx context.Context, who *identity, id int64, j *ownJob) error {
	table := h.own.table
	if p, ok := h.plugins.ofJob(id); ok {
		table = p.jobs
	}
	changed, stop := table.watch(id)
	defer stop()
	for seen := noProgress(); ; {
		e, err := h.job(ctx, id)
		if err != nil {
			return err
		}
		if err := readable(who, e); err != nil {
			return err
		}
		if p := plainProgress(e.Progress); e.final() || !bytes.Equal(p, seen) {
			seen = p
			j.update(func(w *wireJob) { w.follow(e, p) })
		}
		if e.final() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// follow takes over what another job has come to.
func (j *wireJob) follow(e *jobEntry, progress json.RawMessage) {
	j.Progress = progress
	if e.final() {
		j.State, j.Result, j.ResultEncodingError = e.State, e.Result, e.ResultEncodingError
		j.Error, j.Exception, j.ExcInfo = e.Error, e.Exception, e.ExcInfo
	}
}

// noProgress is the progress of a job that has just begun.
func noProgress() json.RawMessage { return plainProgress(nil) }

// plainProgress is a job's progress in one form, so that it can be compared.
func plainProgress(data json.RawMessage) json.RawMessage {
	p := struct {
		Percent     json.RawMessage `json:"percent"`
		Description string          `json:"description"`
		Extra       json.RawMessage `json:"extra"`
	}{Percent: json.RawMessage("0")}
	if !isNull(data) && json.Unmarshal(data, &p) != nil {
		return data
	}
	return mustJSON(p)
}
