// Package host is the embedded middleware: it launches the plugin, watches it and finds it again, lets clients log in,
// and routes their calls to the plugin and its events to them. It is written against docs/host-protocol.md alone.
package host
