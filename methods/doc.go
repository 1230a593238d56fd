// Package methods is the API of the plugin, a file per namespace. It holds no logic: a method takes its arguments, asks the
// domain, and renders the answer.
package methods
