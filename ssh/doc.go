// Package ssh runs commands on remote hosts and streams data into and out of them: it dials with strict host keys, keeps
// one warm connection per host for commands and a few more for streams, and reports how both ends of a stream fared.
package ssh
