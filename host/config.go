package host

import (
	"context"
	"log/slog"
	"time"
)

// Config says what to serve and where.
type Config struct {
	Dir    string // the host's state, its plugin socket and, after the first start, the administrator's API key; made with mode 0700
	Listen string // address and port for clients, such as "127.0.0.1:6000"; empty: none
	// TLS serves Listen with TLS, which is done anyway where the address is no loopback one, unless PlainHTTP says otherwise.
	TLS, PlainHTTP bool
	// TLSCert and TLSKey are PEM files, read again when they have changed. Empty: a certificate of the host's own in Dir, made at
	// the first start that needs it.
	TLSCert, TLSKey string
	Sockets         []string // Unix sockets for clients

	// TokenFile is kept filled with a registration token that nobody has used, for plugins that somebody else starts. Empty:
	// none.
	TokenFile string
	// Plugins are those whose processes the host keeps running.
	Plugins []Supervised

	Version string       // what the host says of itself
	Log     *slog.Logger // nil is none
	// Ready is called once, by Run, when everybody can connect and the plugins have registered, or it is known that one
	// does not for now. May be nil.
	Ready func(Addresses)

	limits limits // zero: the usual ones; tests have others
}

// Supervised is a plugin whose process the host keeps running.
type Supervised struct {
	Name string // under which it registers
	// Start makes what runs it. The plugin dials and registers with what credentials gives: the URL of the host's WebSocket,
	// a token that is good for one registration, and the certificates of a wss host, which is empty for a Unix socket.
	Start func(credentials func() (url, token, caPEM string)) (Process, error)
}

// Process keeps the process of a plugin running. *Supervisor is one.
type Process interface {
	// Run returns when the process has ended or was left alone, after ctx has ended; the cause ErrLeavePlugin leaves it
	// running.
	Run(ctx context.Context) error
	// Status says how the process is.
	Status() PluginStatus
}

// Addresses are where a host can be reached.
type Addresses struct {
	Client      string   // URL for clients, "" without Config.Listen
	Fingerprint string   // SHA-256 of the certificate there, "" without TLS
	Sockets     []string // Unix sockets for clients
	Plugin      string   // URL for plugins on this machine
	KeyFile     string   // where the administrator's API key was written at the first start
}

// limits are how long somebody is waited for, and with how much.
type limits struct {
	waiting  int           // bytes of events that may wait for a client
	register time.Duration // from a plugin's connection to its registration
	write    time.Duration // that a peer may refuse to read
	silence  time.Duration // after which a plugin is pinged
	probe    time.Duration // for a plugin to show that it is alive, when another process wants its place
	call     time.Duration // for answers of a plugin about its jobs
}

func (l limits) withDefaults() limits {
	if l.waiting == 0 {
		l.waiting = maxNoticeBytes
	}
	for _, t := range []struct {
		at    *time.Duration
		usual time.Duration
	}{
		{&l.register, 10 * time.Second},
		{&l.write, 20 * time.Second},
		{&l.silence, 20 * time.Second},
		{&l.probe, 3 * time.Second},
		{&l.call, 30 * time.Second},
	} {
		if *t.at == 0 {
			*t.at = t.usual
		}
	}
	return l
}
