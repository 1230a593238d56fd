// Package pyhost tests pyhost.py, a host for the plugin in Python's standard library. It knows nothing but
// docs/host-protocol.md, so that these tests hold the page to what the plugin does, and it is an example for hosts in
// other languages.
package pyhost
