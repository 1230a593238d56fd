package rpc

import (
	"context"
	"encoding/json"
)

// Caller is who makes a call, as a host forwards it with plugin.call.
type Caller struct {
	Session     string          `json:"session"`
	Credentials json.RawMessage `json:"credentials"` // {"type", "data"}
	User        string          `json:"user"`
	Roles       []string        `json:"roles"` // those contained in others too
	FullAdmin   bool            `json:"full_admin"`
	Origin      string          `json:"origin"`
	API         string          `json:"api"`        // version of the API that the client speaks
	MessageID   json.RawMessage `json:"message_id"` // JSON-RPC id of the client's call
	LegacyJobs  bool            `json:"legacy_jobs"`
}

// Can tells whether the caller holds one of the roles or is a full administrator.
func (c *Caller) Can(roles ...string) bool {
	if c.FullAdmin {
		return true
	}
	for _, held := range c.Roles {
		for _, role := range roles {
			if held == role {
				return true
			}
		}
	}
	return false
}

type callerKey struct{}

// WithCaller says on whose behalf ctx is.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf tells on whose behalf ctx is.
func CallerOf(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(Caller)
	return c, ok
}
