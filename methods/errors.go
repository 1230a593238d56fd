package methods

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/zferry/zferry/faults"
	"github.com/zferry/zferry/jobs"
	"github.com/zferry/zferry/rpc"
	"github.com/zferry/zferry/rpc/filter"
	"github.com/zferry/zferry/store"
)

// wireError says an error of the domain in the words of the API. Faults of fields get prefix before their names, "" for
// none.
func wireError(err error, prefix string) error {
	var list faults.List
	var missing *faults.NotFound
	switch {
	case err == nil:
		return nil
	case errors.As(err, &list):
		var args rpc.ArgErrors
		for _, f := range list {
			attribute := f.Field
			if prefix != "" {
				attribute = prefix + "." + f.Field
			}
			args.Add(attribute, f.Text)
		}
		return args
	case errors.As(err, &missing):
		return rpc.NotFound(missing.Kind, missing.ID)
	case errors.Is(err, store.ErrFull):
		return rpc.Errorf(rpc.ENOSPC, "%v", err)
	}
	return err
}

// join adds the faults of arguments in err, if it has any. What is none of an argument becomes one without a name.
func join(bad rpc.ArgErrors, err error) rpc.ArgErrors {
	if err == nil {
		return bad
	}
	if more, ok := errors.AsType[rpc.ArgErrors](err); ok {
		return append(bad, more...)
	}
	return append(bad, rpc.ArgError{Message: err.Error()})
}

// queryError says what package filter found wrong.
func queryError(err error) error {
	var fields filter.FieldErrors
	switch {
	case errors.As(err, &fields):
		var args rpc.ArgErrors
		for _, f := range fields {
			args.Add(f.Attribute, f.Message)
		}
		return args
	case errors.Is(err, filter.ErrNoMatch):
		return &rpc.CallError{Errno: rpc.EINVAL, Reason: err.Error(), Bare: true, Trace: &rpc.Trace{Class: "MatchNotFound", Formatted: err.Error(), Repr: err.Error()}}
	}
	return err
}

// Explain is what clients are told of the error of a job (truenas-api.md 2.4).
func Explain(err error) jobs.Failure {
	var args rpc.ArgErrors
	var call *rpc.CallError
	f := jobs.Failure{Error: err.Error(), Repr: err.Error(), Type: "Exception"}
	switch {
	case errors.As(err, &args):
		triples := make([][3]any, len(args))
		for i, a := range args {
			triples[i] = [3]any{a.Attribute, a.Message, max(int(a.Errno), 0)}
			if a.Errno == 0 {
				triples[i][2] = int(rpc.EINVAL)
			}
			if a.Null {
				triples[i][0] = nil
			}
		}
		f.Error, f.Type = args.Error(), "VALIDATION"
		f.Extra, _ = json.Marshal(triples) // texts and numbers
		if len(args) == 1 {
			f.Errno = int(args[0].Errno)
		}
	case errors.As(err, &call):
		f.Error, f.Type, f.Errno = call.Error(), "CallError", int(call.Errno)
	}
	f.Exception = f.Type + ": " + strings.TrimSpace(f.Error)
	return f
}

// failed is a job's error as TrueNAS has it: a sentence behind [EFAULT] (truenas-api.md 5.7). Arguments that do not fit and
// ids that name nothing keep their kind.
func failed(err error, prefix string) error {
	if err == nil {
		return nil
	}
	err = wireError(err, prefix)
	if errors.As(err, new(rpc.ArgErrors)) || errors.As(err, new(*rpc.CallError)) {
		return err
	}
	text := strings.TrimSpace(err.Error())
	if !strings.HasSuffix(text, ".") && text != "Task is on hold" && text != "Task is already running" {
		text += "."
	}
	return rpc.Errorf(rpc.EFAULT, "%s", text)
}
