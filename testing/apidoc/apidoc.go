// Package apidoc makes docs/openrpc.json, the description of the API, from the methods of host and plugin.
package apidoc

import (
	"github.com/zferry/zferry/host"
	"github.com/zferry/zferry/plugin"
	"github.com/zferry/zferry/rpc"
)

// Document gives the text of docs/openrpc.json.
func Document() ([]byte, error) {
	var hosts, plugins rpc.Registry
	host.Methods(&hosts)
	plugin.Methods(&plugins)
	return rpc.OpenRPC("zferry", "JSON-RPC 2.0 over WebSocket, at /api/current. Arguments go by position.", plugin.Release(), &hosts, &plugins)
}
