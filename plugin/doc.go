// Package plugin is the plugin's side of the boundary: the process that a host launches or that attaches to one, its
// connection to the host's WebSocket, and the place where all parts of zferry are put together.
package plugin
