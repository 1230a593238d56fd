// Package keychain keeps key pairs and SSH connections: what may be kept, who uses it, and how a connection is dialled.
package keychain
