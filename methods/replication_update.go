package methods

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"github.com/zferry/zferry/rpc"
	"github.com/zferry/zferry/tasks"
)

type replicationUpdateArgs struct {
	ID   int64           `json:"id" doc:"id of a task"`
	Data json.RawMessage `json:"replication_update" doc:"the fields of replication.create that are to change"`
}

// update puts the given fields over those of the task, and has the whole checked as a new task is (truenas-api.md 3.4).
func (x *Replications) update(ctx context.Context, in replicationUpdateArgs) (any, error) {
	const argument = "replication_update"
	e, err := x.tasks.Update(ctx, in.ID, func(d tasks.Definition) (tasks.Definition, error) {
		fields, err := overlay(d, in.Data)
		if err != nil {
			fields = in.Data // no object at all, which binding says
		}
		data, err := rpc.BindValue[replicationData](argument, fields)
		if err != nil {
			return d, err
		}
		changed := data.definition()
		changed.NoPull = !may(ctx, replicationWritePull)
		return changed, nil
	})
	if err != nil {
		return nil, wireError(err, argument)
	}
	return x.render(ctx, e, true), nil
}

// overlay is the fields of a definition with those of an update in their place. The names of a definition's fields are those of
// the API.
func overlay(d tasks.Definition, update json.RawMessage) (json.RawMessage, error) {
	data, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("task: %w", err)
	}
	var fields, given map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, fmt.Errorf("task: %w", err)
	}
	if err := json.Unmarshal(update, &given); err != nil || given == nil {
		return nil, errors.New("no object")
	}
	// What is not set is not given, so that lists take their default.
	maps.DeleteFunc(fields, func(_ string, value json.RawMessage) bool { return bytes.Equal(value, []byte("null")) })
	maps.Copy(fields, given)
	return json.Marshal(fields)
}
