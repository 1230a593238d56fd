// Package transport carries a stream from here to there: it runs commands on this system, joins a sending and a receiving
// end through a bounded buffer, and meters the bytes between them.
package transport
