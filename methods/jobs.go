package methods

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"github.com/zferry/zferry/jobs"
	"github.com/zferry/zferry/rpc"
)

const masked = "********"

// work is what a job method does. By the API's rule arguments that do not fit make a failed job and no refused call, so they
// are bound inside the job (truenas-api.md 1.4).
type work[In any] func(ctx context.Context, h *jobs.Handle, in In) (any, error)

// registerJob registers a method that runs as a job and answers with the job's id. key, if not nil, gives what the job is
// found by after a crash.
func registerJob[In any](r *rpc.Registry, m *jobs.Manager, name string, meta rpc.Meta, key func(In) string, do work[In]) {
	meta.Job = true
	rpc.RegisterRaw[In](r, name, meta, func(ctx context.Context, params json.RawMessage) (int64, error) {
		caller, _ := rpc.CallerOf(ctx)
		var in In
		if older, ok := any(in).(olderArgs); ok {
			var err error
			if params, err = older.fromOlder(caller.API, params); err != nil {
				return 0, err
			}
		}
		s := jobs.Spec{
			Method: name, Arguments: redact(params), Abortable: meta.Abortable, Logs: meta.Logs, ReadRoles: meta.ReadRoles,
			MessageID: caller.MessageID, Credentials: caller.Credentials, Owner: caller.User,
			Run: func(ctx context.Context, h *jobs.Handle) (any, error) {
				in, err := rpc.Bind[In](params)
				if err != nil {
					return nil, err
				}
				return do(rpc.WithCaller(ctx, caller), h, in)
			},
		}
		if key != nil {
			if in, err := rpc.Bind[In](params); err == nil {
				s.Key = key(in)
			}
		}
		job, err := m.Start(ctx, s)
		return job.ID, startError(err)
	})
}

// startError says why no job was made.
func startError(err error) error {
	var busy *jobs.BusyError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &busy):
		return rpc.Errorf(rpc.EBUSY, "%v", err)
	case errors.Is(err, jobs.ErrNoSeries), errors.Is(err, jobs.ErrDraining), errors.Is(err, jobs.ErrClosed):
		return rpc.Errorf(rpc.EBUSY, "no new run: %v", err)
	}
	return wireError(err, "")
}

// secretNames are the members whose values are never shown.
func secret(name string) bool {
	switch name {
	case "encryption_key", "private_key", "password", "token", "otp_token", "api_key", "admin_password":
		return true
	}
	return false
}

// redact masks secrets in arguments, wherever they stand. What is no JSON is left out whole.
func redact(params json.RawMessage) json.RawMessage {
	if len(params) == 0 {
		return json.RawMessage("[]")
	}
	d := json.NewDecoder(bytes.NewReader(params))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return json.RawMessage("[]")
	}
	out, err := json.Marshal(maskIn(v))
	if err != nil {
		return json.RawMessage("[]")
	}
	return out
}

func maskIn(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			switch value.(type) {
			case string, []any, map[string]any, json.Number:
				_, number := value.(json.Number)
				if secret(name) && !(number && name == "private_key") { // the number of a key pair is no secret
					v[name] = masked
					continue
				}
			}
			v[name] = maskIn(value)
		}
	case []any:
		for i := range v {
			v[i] = maskIn(v[i])
		}
	}
	return v
}

// JobObject is a job as clients see it (truenas-api.md 2.4), with rev for the host.
type JobObject struct {
	ID             int64             `json:"id"`
	Rev            uint64            `json:"rev"`
	MessageIDs     []json.RawMessage `json:"message_ids"`
	Method         string            `json:"method"`
	Arguments      json.RawMessage   `json:"arguments"`
	Transient      bool              `json:"transient"`
	Description    *string           `json:"description"`
	Abortable      bool              `json:"abortable"`
	LogsPath       *string           `json:"logs_path"`
	LogsExcerpt    *string           `json:"logs_excerpt"`
	Progress       jobProgress       `json:"progress"`
	Result         json.RawMessage   `json:"result"`
	ResultEncoding *string           `json:"result_encoding_error"`
	Error          *string           `json:"error"`
	Exception      *string           `json:"exception"`
	ExcInfo        *excInfo          `json:"exc_info"`
	State          jobs.State        `json:"state"`
	TimeStarted    rpc.Date          `json:"time_started"` // of creation
	TimeFinished   rpc.Date          `json:"time_finished"`
	Credentials    json.RawMessage   `json:"credentials"`
}

type jobProgress struct {
	Percent     *int            `json:"percent"`
	Description string          `json:"description"`
	Extra       json.RawMessage `json:"extra"`
}

type excInfo struct {
	Repr  string          `json:"repr"`
	Type  string          `json:"type"`
	Errno *int            `json:"errno"`
	Extra json.RawMessage `json:"extra"`
}

// RenderJob renders a job.
func RenderJob(j jobs.Job) JobObject {
	o := JobObject{
		ID: j.ID, Rev: j.Rev, MessageIDs: j.MessageIDs, Method: j.Method, Arguments: j.Arguments, Transient: j.Transient,
		Description: orNull(j.Description), Abortable: j.Abortable, LogsPath: orNull(j.LogsPath), LogsExcerpt: orNull(j.LogsExcerpt),
		Progress: jobProgress{Percent: j.Progress.Percent, Description: j.Progress.Description, Extra: j.Progress.Extra},
		Result:   j.Result, ResultEncoding: orNull(j.ResultEncodingError), State: j.State,
		TimeStarted: rpc.Date(j.Created), TimeFinished: rpc.Date(j.Finished), Credentials: j.Credentials,
	}
	if o.MessageIDs == nil {
		o.MessageIDs = []json.RawMessage{}
	}
	if f := j.Failure; f != nil {
		o.Error, o.Exception = orNull(f.Error), orNull(f.Exception)
		o.ExcInfo = &excInfo{Repr: f.Repr, Type: f.Type, Extra: f.Extra}
		if f.Errno != 0 {
			o.ExcInfo.Errno = &f.Errno
		}
	}
	return o
}

func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
