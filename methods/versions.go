package methods

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/zferry/zferry/rpc"
)

// olderArgs are arguments that had another form in older versions of the API. As in TrueNAS they are converted before there is
// a job, so that what cannot be converted is refused at once.
type olderArgs interface {
	fromOlder(api string, params json.RawMessage) (json.RawMessage, error)
}

// before tells whether a version of the API, as a path names it, is older than a major one. "current" is not, nor is that of a
// host that names none.
func before(api string, major int) bool {
	var n int
	_, err := fmt.Sscanf(api, "v%d.", &n)
	return err == nil && n < major
}

// apiOf is the version of the API that the caller speaks.
func apiOf(ctx context.Context) string {
	caller, _ := rpc.CallerOf(ctx)
	return caller.API
}

// fromOlder makes the options of a run of what was a plain boolean before version 26 (truenas-api.md 3.9). To callers it was
// private then too.
func (runArgs) fromOlder(api string, params json.RawMessage) (json.RawMessage, error) {
	var args []json.RawMessage
	if !before(api, 26) || len(params) == 0 || json.Unmarshal(params, &args) != nil {
		return params, nil
	}
	const most = 2
	switch {
	case len(args) > most:
		return nil, rpc.ArgErrors{{Message: fmt.Sprintf("Too many arguments (expected %d, found %d)", most, len(args))}}
	case len(args) < most:
		return params, nil
	}
	really, err := rpc.BindValue[bool]("really_run", args[1])
	if err != nil {
		return nil, err
	}
	if !really {
		return nil, rpc.ArgErrors{{Attribute: "really_run", Message: "Extra inputs are not permitted"}}
	}
	args[1] = json.RawMessage(`{"really_run": true}`)
	return json.Marshal(args)
}

// enabledFor refuses, for callers of versions before 27, to run a task that is disabled.
func (x *Replications) enabledFor(ctx context.Context, task int64) error {
	if !before(apiOf(ctx), 27) {
		return nil
	}
	e, err := x.tasks.Get(ctx, task)
	if err != nil {
		return err
	}
	if !e.Definition.Enabled {
		return rpc.Errorf(rpc.EFAULT, "Task is not enabled")
	}
	return nil
}
