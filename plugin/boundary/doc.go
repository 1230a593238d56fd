// Package boundary is what a host and a plugin share about the plugin's process: how go-plugin's handshake recognises it,
// the calls that configure, watch and end it, the certificates of their connection, and which process holds a data folder.
package boundary

//go:generate ./generate.sh

import goplugin "github.com/hashicorp/go-plugin"

// Protocol is the version of go-plugin's application protocol.
const Protocol = 1

// Names of what lies in the data folder of a plugin and concerns the host too.
const (
	LogName  = "plugin.log" // what the plugin has written since it was configured
	lockName = "lock"       // held by the plugin; its pid stands in it
	tlsName  = "tls"        // the certificates of host and plugin
)

// Handshake is how both ends know each other. The cookie is a courtesy against starting the plugin by hand, no secret.
func Handshake() goplugin.HandshakeConfig {
	return goplugin.HandshakeConfig{
		ProtocolVersion:  Protocol,
		MagicCookieKey:   "ZFERRY_PLUGIN",
		MagicCookieValue: "2f0c6a7e",
	}
}
