package ssh

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// What may be wrong with a host; the errors of this package wrap them.
var (
	ErrRefused        = errors.New("connection refused")
	ErrTimeout        = errors.New("timeout")
	ErrNoSuchHost     = errors.New("no such host")
	ErrUnknownHost    = errors.New("unknown host key")
	ErrHostKeyChanged = errors.New("host key changed")
	ErrHostKeyRevoked = errors.New("host key revoked")
	ErrPassphrase     = errors.New("key is protected by a passphrase")
	ErrLost           = errors.New("connection lost")
	ErrStoppedReading = errors.New("command ended before the end of its input")
	ErrClosed         = errors.New("ssh peer is closed")
)

// ConfigError is a Config that cannot be used.
type ConfigError struct{ Field, Reason string }

func (e *ConfigError) Error() string { return e.Field + " " + e.Reason }

// DialError is a host that could not be connected to or is no SSH server.
type DialError struct {
	Addr   string
	Kind   error // ErrRefused, ErrTimeout, ErrNoSuchHost, or nil for what none of them names
	Reason string
	Err    error // of the system; may be nil
}

func (e *DialError) Error() string { return e.Addr + ": " + e.Reason }

// Unwrap gives the kind and what the system said.
func (e *DialError) Unwrap() []error { return both(e.Kind, e.Err) }

// HostKeyError is a host whose key is not the expected one. Nothing was sent to it but the offer to talk.
type HostKeyError struct {
	Addr  string
	Kind  error    // ErrUnknownHost, ErrHostKeyChanged or ErrHostKeyRevoked
	Type  string   // of the key that the host has, such as ssh-ed25519
	Have  string   // its fingerprint, SHA256:...
	Want  []string // fingerprints of the keys that were expected; none for an unknown host
	Where []string // where each of them is written, file:line
	File  string   // known_hosts file to edit; "" if there is none
	Line  string   // what to add to File to accept the key
}

func (e *HostKeyError) Error() string {
	switch {
	case errors.Is(e.Kind, ErrUnknownHost):
		return fmt.Sprintf("host key of %s is unknown: it has %s %s; compare that on the host itself (ssh-keygen -lf /etc/ssh/%s), then %s",
			e.Addr, e.Type, e.Have, hostKeyFile(e.Type), e.add())
	case errors.Is(e.Kind, ErrHostKeyRevoked):
		return fmt.Sprintf("host key of %s is marked as revoked: %s %s (%s)", e.Addr, e.Type, e.Have, strings.Join(e.Where, ", "))
	}
	var want strings.Builder
	for i, w := range e.Want {
		fmt.Fprintf(&want, "%s (%s), ", w, e.Where[i])
	}
	return fmt.Sprintf("host key of %s has changed: it has %s %s, expected was %sso either the host was set up anew or somebody is in between; if you know that it was, remove the old key and %s",
		e.Addr, e.Type, e.Have, want.String(), e.add())
}

func (e *HostKeyError) add() string {
	if e.File == "" {
		return "add to the accepted host keys: " + e.Line
	}
	return fmt.Sprintf("add this line to %s: %s", e.File, e.Line)
}

// Unwrap gives the kind.
func (e *HostKeyError) Unwrap() error { return e.Kind }

// hostKeyFile is where OpenSSH keeps its host key of a type.
func hostKeyFile(keyType string) string {
	switch {
	case keyType == "ssh-ed25519":
		return "ssh_host_ed25519_key.pub"
	case strings.HasPrefix(keyType, "ecdsa-"):
		return "ssh_host_ecdsa_key.pub"
	}
	return "ssh_host_rsa_key.pub"
}

// AuthError is a login that the host refused.
type AuthError struct {
	Addr    string
	User    string
	Keys    []string // what was offered: fingerprint and origin of each key
	Methods []string // what the host would take, if it said so
	Skipped []string // keys that could not be offered, and why
	Reason  string   // of the host, if it gave one
}

func (e *AuthError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s refuses the login of %q", e.Addr, e.User)
	if e.Reason != "" {
		b.WriteString(" (" + e.Reason + ")")
	}
	b.WriteString(": offered " + strings.Join(e.Keys, ", "))
	if len(e.Methods) > 0 {
		b.WriteString("; the host takes " + strings.Join(e.Methods, ", "))
	}
	if len(e.Skipped) > 0 {
		b.WriteString("; left out " + strings.Join(e.Skipped, ", "))
	}
	fmt.Fprintf(&b, "; add one of the public keys to ~%s/.ssh/authorized_keys there", e.User)
	return b.String()
}

// KeyError is a private key that cannot be used.
type KeyError struct {
	Name string // its file, or which of Config.Keys it is
	Err  error  // ErrPassphrase, or why it is unreadable; never any of its content
}

func (e *KeyError) Error() string {
	if errors.Is(e.Err, ErrPassphrase) {
		add := ""
		if filepath.IsAbs(e.Name) {
			add = " " + Quote(e.Name)
		}
		return fmt.Sprintf("%s: the key is protected by a passphrase: add it to the SSH agent (ssh-add%s) and let SSH_AUTH_SOCK name the agent's socket", e.Name, add)
	}
	return fmt.Sprintf("%s: %v", e.Name, e.Err)
}

// Unwrap gives the cause.
func (e *KeyError) Unwrap() error { return e.Err }

// LostError is a connection that has ended without our doing. It is an ErrLost.
type LostError struct {
	Addr   string
	Silent time.Duration // how long nothing was heard; 0 if the other side closed the connection
	Err    error         // what the connection said at its end; may be nil
}

func (e *LostError) Error() string {
	switch {
	case e.Silent > 0:
		return fmt.Sprintf("connection to %s lost: nothing heard for %v", e.Addr, e.Silent.Round(100*time.Millisecond))
	case e.Err != nil:
		return fmt.Sprintf("connection to %s lost: %v", e.Addr, e.Err)
	}
	return fmt.Sprintf("connection to %s lost: closed by the other side", e.Addr)
}

// Unwrap gives ErrLost and what the connection said.
func (e *LostError) Unwrap() []error { return both(ErrLost, e.Err) }

// ExitError is a command that ran and failed.
type ExitError struct {
	Code    int    // 128 and the number of the signal, if one ended it
	Signal  string // that ended it, such as TERM; "" if none did
	Message string // of the host about the signal
}

func (e *ExitError) Error() string {
	if e.Signal != "" {
		return strings.TrimSpace("ended by signal " + e.Signal + " " + e.Message)
	}
	return fmt.Sprintf("exit status %d", e.Code)
}

// ExitCode is the code of the command, as the shell counts.
func (e *ExitError) ExitCode() int { return e.Code }

// NoExitError is a command of which the host did not say how it ended.
type NoExitError struct{ Addr string }

func (e *NoExitError) Error() string {
	return e.Addr + " did not say how the command ended: its sshd may have been stopped"
}

// StartError is a command of which nothing was seen: the login shell did not start it, or printed too much before it.
type StartError struct {
	Addr   string
	Reason string
	Output string // the end of what came instead
	Err    error  // how the session ended; may be nil
}

func (e *StartError) Error() string {
	text := e.Addr + ": the command did not start: " + e.Reason
	if e.Output != "" {
		text += fmt.Sprintf("; the login shell printed %q", e.Output)
	}
	return text
}

// Unwrap gives how the session ended.
func (e *StartError) Unwrap() error { return e.Err }

func both(a, b error) []error {
	var errs []error
	for _, err := range []error{a, b} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}
