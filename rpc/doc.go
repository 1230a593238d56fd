// Package rpc speaks JSON-RPC 2.0 over WebSocket in both directions: connections with limits and byte streams, typed
// methods whose arguments are bound by position, and errors that keep their meaning on the wire. It knows no method.
package rpc
