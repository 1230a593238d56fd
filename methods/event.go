package methods

import (
	"errors"

	"github.com/zferry/zferry/rpc"
)

// Event is an event for the clients that have subscribed to Name and hold one of Roles.
type Event struct {
	Name   string
	Msg    string // added, changed or removed
	ID     int64
	Fields any // nil for removed
	Roles  []string
}

// EventNames are the events that the plugin sends, and who may subscribe.
func EventNames() map[string][]string {
	return map[string][]string{
		"keychaincredential.query": {keychainRead, keychainWrite},
		"replication.query":        {replicationRead, replicationWrite},
	}
}

// asArgs is err as faults of arguments: what is none becomes one without a name.
func asArgs(err error) rpc.ArgErrors {
	if args, ok := errors.AsType[rpc.ArgErrors](err); ok {
		return args
	}
	return rpc.ArgErrors{{Message: err.Error()}}
}
