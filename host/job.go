package host

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/zferry/zferry/rpc"
)

// Final states of a job.
const (
	stateWaiting = "WAITING"
	stateRunning = "RUNNING"
	stateSuccess = "SUCCESS"
	stateFailed  = "FAILED"
	stateAborted = "ABORTED"
)

// wireJob is a job as clients see it, member for member.
type wireJob struct {
	ID                  int64             `json:"id"`
	MessageIDs          []json.RawMessage `json:"message_ids"`
	Method              string            `json:"method"`
	Arguments           json.RawMessage   `json:"arguments"`
	Transient           bool              `json:"transient"`
	Description         *string           `json:"description"`
	Abortable           bool              `json:"abortable"`
	LogsPath            *string           `json:"logs_path"`
	LogsExcerpt         *string           `json:"logs_excerpt"`
	Progress            json.RawMessage   `json:"progress"`
	Result              json.RawMessage   `json:"result"`
	ResultEncodingError *string           `json:"result_encoding_error"`
	Error               *string           `json:"error"`
	Exception           *string           `json:"exception"`
	ExcInfo             json.RawMessage   `json:"exc_info"`
	State               string            `json:"state"`
	TimeStarted         json.RawMessage   `json:"time_started"`
	TimeFinished        json.RawMessage   `json:"time_finished"`
	Credentials         json.RawMessage   `json:"credentials"`
}

func (j *wireJob) final() bool {
	return j.State == stateSuccess || j.State == stateFailed || j.State == stateAborted
}

// internal tells whether no user has started the job.
func (j *wireJob) internal() bool { return isNull(j.Credentials) }

func isNull(data json.RawMessage) bool {
	return len(data) == 0 || bytes.Equal(data, []byte("null"))
}

// jobFrame is a job as a plugin sends it.
type jobFrame struct {
	Job struct {
		wireJob
		Rev uint64 `json:"rev"`
	} `json:"job"`
	Audience audience `json:"audience"`
}

// jobEntry is one state of a job. It is not changed after it was made.
type jobEntry struct {
	wireJob
	rev      uint64
	audience audience
	fields   json.RawMessage       // the job as clients see it
	row      func() map[string]any // the same for queries
	shown    func() map[string]any // row with the secrets of the result masked
}

func newEntry(job wireJob, rev uint64, a audience) *jobEntry {
	if job.MessageIDs == nil {
		job.MessageIDs = []json.RawMessage{}
	}
	if isNull(job.Arguments) {
		job.Arguments = json.RawMessage("[]")
	}
	e := &jobEntry{wireJob: job, rev: rev, audience: a, fields: mustJSON(job)}
	e.row = sync.OnceValue(func() map[string]any { return decodeRow(e.ID, e.fields) })
	e.shown = sync.OnceValue(func() map[string]any {
		job := e.wireJob
		job.Result = redact(job.Result)
		return decodeRow(e.ID, mustJSON(job))
	})
	return e
}

func decodeRow(id int64, fields json.RawMessage) (row map[string]any) {
	d := json.NewDecoder(bytes.NewReader(fields))
	d.UseNumber()
	if err := d.Decode(&row); err != nil {
		panic(fmt.Sprintf("host: job %d: %v", id, err)) // it was made by Marshal
	}
	return row
}

// readEntry reads a job that a plugin sent.
func readEntry(data json.RawMessage) (*jobEntry, error) {
	var f jobFrame
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("job: %w", err)
	}
	switch f.Job.State {
	case stateWaiting, stateRunning, stateSuccess, stateFailed, stateAborted:
	default:
		return nil, fmt.Errorf("job %d: state %q", f.Job.ID, f.Job.State)
	}
	return newEntry(f.Job.wireJob, f.Job.Rev, f.Audience), nil
}

// excInfo is what went wrong with a job.
type excInfo struct {
	Repr  string          `json:"repr"`
	Type  string          `json:"type"`
	Errno *rpc.Errno      `json:"errno"`
	Extra json.RawMessage `json:"extra"`
}

const validation = "VALIDATION"

// fail makes the job FAILED because of err.
func (j *wireJob) fail(err error) {
	wire := rpc.ToWire(err)
	var data struct {
		Error  rpc.Errno       `json:"error"`
		Reason string          `json:"reason"`
		Trace  *rpc.Trace      `json:"trace"`
		Extra  json.RawMessage `json:"extra"`
	}
	if json.Unmarshal(wire.Data, &data) != nil || data.Reason == "" {
		data.Error, data.Reason = rpc.EFAULT, wire.Message
	}
	info := excInfo{Type: "CallError", Repr: data.Reason, Errno: &data.Error, Extra: data.Extra}
	switch {
	case wire.Code == rpc.CodeInvalidParams:
		info.Type, info.Errno = validation, nil
	case data.Trace != nil && data.Trace.Class != "":
		info.Type = data.Trace.Class
	}
	j.State = stateFailed
	j.Error, j.Exception = &data.Reason, &data.Reason
	j.ExcInfo = mustJSON(info)
}

// outcome is what a client is answered that waits for the end of the job: its result, or the error as the method itself would
// have given it. An aborted job is an error, because what was asked for has not been done.
func (j *wireJob) outcome() (json.RawMessage, error) {
	if j.State == stateSuccess {
		return j.Result, nil
	}
	var info excInfo
	if json.Unmarshal(j.ExcInfo, &info) != nil || isNull(j.ExcInfo) {
		info = excInfo{Type: "CallError"}
	}
	if j.State == stateAborted {
		return nil, rpc.Errorf(rpc.ECANCELED, "Job %d was aborted", j.ID)
	}
	if info.Type == validation {
		if err := j.faults(info.Extra); err != nil {
			return nil, err
		}
	}
	reason := info.Repr
	if j.Error != nil {
		reason = *j.Error
	}
	e := &rpc.CallError{Errno: rpc.EINVAL, Reason: reason, Bare: true, Trace: &rpc.Trace{Class: info.Type, Repr: info.Repr}}
	if j.Exception != nil {
		e.Trace.Formatted = *j.Exception
	}
	if info.Errno != nil {
		e.Errno = *info.Errno
	}
	if !isNull(info.Extra) {
		e.Extra = info.Extra
	}
	return nil, e
}

// faults makes the error of the triples in exc_info.extra, or nil if they are none.
func (j *wireJob) faults(extra json.RawMessage) error {
	reason := ""
	if j.Error != nil {
		reason = *j.Error
	}
	err := rpc.FromWire(&rpc.Error{Code: rpc.CodeInvalidParams, Message: "Invalid params", Data: mustJSON(map[string]any{
		"error": rpc.EINVAL, "errname": rpc.EINVAL.Name(), "reason": reason, "trace": nil, "extra": extra,
	})})
	if _, ok := errors.AsType[rpc.ArgErrors](err); !ok {
		return nil
	}
	return err
}
