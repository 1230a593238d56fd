package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// outcome is how the work of a job ended.
type outcome struct {
	state       State
	result      json.RawMessage
	resultError string
	failure     *Failure
	interrupted bool
}

// run is the life of a job.
func (m *Manager) run(ctx context.Context, e *entry, s Spec) {
	var o outcome
	defer func() { // even if s.Run ends the goroutine
		m.finish(e, o)
		e.cancel(nil)
	}()
	select {
	case <-ctx.Done():
	case <-e.turn:
	}
	if ctx.Err() != nil {
		o = m.settle(ctx, e, nil, context.Cause(ctx))
		return
	}
	m.write.Lock()
	m.changeWriting(e, func(j *Job) { j.State, j.Started = Running, time.Now() })
	m.write.Unlock()
	if m.logs(s) {
		e.log = m.createLog(e.id)
	}
	o = m.work(ctx, e, s.Run)
}

// work calls fn. Whatever it does, the job alone suffers for it: a panic becomes a failure, and its stack goes to the program's
// log only. It is of no use to clients, and tells more than they should know.
func (m *Manager) work(ctx context.Context, e *entry, fn Func) (o outcome) {
	defer func() {
		if p := recover(); p != nil {
			m.cfg.Log.Error("job panicked", "job", e.id, "panic", p, "stack", string(debug.Stack()))
			o = outcome{}
		}
	}()
	result, err := fn(ctx, &Handle{m: m, e: e})
	return m.settle(ctx, e, result, err)
}

func (m *Manager) settle(ctx context.Context, e *entry, result any, err error) outcome {
	if err == nil {
		o := outcome{state: Success}
		encoded, err := json.Marshal(result)
		if err != nil {
			o.resultError = err.Error()
		} else {
			o.result = encoded
		}
		return o
	}
	o := outcome{state: Failed}
	if ctx.Err() != nil {
		cause := context.Cause(ctx)
		m.cfg.Log.Debug("job stopped", "job", e.id, "cause", cause, "error", err)
		err = cause
		o.interrupted = !errors.Is(cause, ErrAborted)
		if !o.interrupted {
			o.state = Aborted
		}
	}
	f := m.cfg.Explain(err)
	o.failure = &f
	return o
}

// finish ends a job. No outcome means that its Func did not return.
func (m *Manager) finish(e *entry, o outcome) {
	if o.state == "" {
		f := m.cfg.Explain(fmt.Errorf("internal error in job %d", e.id))
		o = outcome{state: Failed, failure: &f}
	}
	text := e.log.close()
	m.write.Lock()
	defer m.write.Unlock()
	m.changeWriting(e, func(j *Job) {
		j.State, j.Finished, j.LogsExcerpt = o.state, time.Now(), text
		j.Result, j.ResultEncodingError, j.Failure, j.Interrupted = o.result, o.resultError, o.failure, o.interrupted
		if o.state == Success {
			j.Progress.Percent = Percent(100)
		}
	})
}
