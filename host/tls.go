package host

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// certificates gives each handshake the certificate that lies in two files at that moment.
type certificates struct {
	certFile, keyFile string
	log               *slog.Logger

	mu     sync.Mutex // guards the fields below
	seen   [2]stamp   // of the files when they were last read, in order or not
	loaded *tls.Certificate
}

// stamp tells whether a file is still the one that was read.
type stamp struct {
	changed time.Time
	size    int64
}

// openCertificates reads the certificate that the configuration names, or the host's own, which is made if there is none.
func openCertificates(c *Config) (*certificates, error) {
	cs := &certificates{certFile: c.TLSCert, keyFile: c.TLSKey, log: c.Log}
	if c.TLSCert == "" {
		cs.certFile, cs.keyFile = filepath.Join(c.Dir, "tls-cert.pem"), filepath.Join(c.Dir, "tls-key.pem")
		if err := ensureCertificate(cs.certFile, cs.keyFile, c.Log); err != nil {
			return nil, err
		}
	}
	if err := cs.refreshLocked(); err != nil { // nobody else has it yet
		return nil, err
	}
	cs.log.Info("certificate for clients", "file", cs.certFile, "sha256", fingerprint(cs.loaded))
	return cs, nil
}

// current is the certificate for a handshake. Files that have become unreadable, or do not belong together while they are
// being replaced, leave the one before in force.
func (cs *certificates) current() *tls.Certificate {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	before := cs.loaded
	err := cs.refreshLocked()
	switch {
	case err != nil:
		cs.log.Error("the changed certificate is not used", "err", err)
	case cs.loaded != before:
		cs.log.Info("certificate for clients has changed", "file", cs.certFile, "sha256", fingerprint(cs.loaded))
	}
	return cs.loaded
}

// refreshLocked reads the files if they have changed. What is wrong with them is told once.
func (cs *certificates) refreshLocked() error {
	var now [2]stamp
	for i, name := range []string{cs.certFile, cs.keyFile} {
		if info, err := os.Stat(name); err == nil { // a missing one has the zero stamp, and reading it says why
			now[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	if cs.loaded != nil && now == cs.seen {
		return nil
	}
	cs.seen = now
	loaded, err := tls.LoadX509KeyPair(cs.certFile, cs.keyFile)
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %w", cs.certFile, cs.keyFile, err)
	}
	cs.loaded = &loaded
	return nil
}

// fingerprint is the SHA-256 of a certificate as OpenSSL and browsers show it.
func fingerprint(c *tls.Certificate) string {
	sum := sha256.Sum256(c.Certificate[0])
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}

// config is how clients are served. Sessions are not resumed: a resumed one shows no certificate, and a login may be bound
// to the one that the client has seen.
func (cs *certificates) config() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS12,
		NextProtos:             []string{"http/1.1"}, // a WebSocket needs no more
		SessionTicketsDisabled: true,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			c := cs.current()
			if conn, ok := hello.Conn.(*shownConn); ok {
				conn.leaf.Store(&c.Certificate[0])
			}
			return c, nil
		},
	}
}

// shownConn is a connection that remembers which certificate its client was shown.
type shownConn struct {
	net.Conn
	leaf atomic.Pointer[[]byte]
}

// tlsListener accepts connections with TLS.
type tlsListener struct {
	net.Listener
	config *tls.Config
}

func (l tlsListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return tls.Server(&shownConn{Conn: conn}, l.config), nil
}

type shownKey struct{}

// withShown notes the connection under TLS, which learns of its certificate in the handshake.
func withShown(ctx context.Context, conn *tls.Conn) context.Context {
	shown, ok := conn.NetConn().(*shownConn)
	if !ok {
		return ctx
	}
	return context.WithValue(ctx, shownKey{}, shown)
}

// shownTo is the certificate (DER) that the client of a request was shown, nil without TLS.
func shownTo(ctx context.Context) []byte {
	shown, ok := ctx.Value(shownKey{}).(*shownConn)
	if !ok {
		return nil
	}
	if leaf := shown.leaf.Load(); leaf != nil {
		return *leaf
	}
	return nil
}

// wantsTLS tells whether clients at the address are served with TLS, or what in the configuration contradicts itself.
func (c *Config) wantsTLS() (bool, error) {
	name, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return false, fmt.Errorf("listen on %q: %v", c.Listen, err)
	}
	asked := c.TLS || c.TLSCert != "" || c.TLSKey != ""
	switch {
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return false, errors.New("a certificate and its key are given together")
	case asked && c.PlainHTTP:
		return false, errors.New("plain HTTP and TLS exclude each other")
	case asked:
		return true, nil
	}
	ip := net.ParseIP(name)
	loopback := name == "localhost" || ip != nil && ip.IsLoopback()
	return !loopback && !c.PlainHTTP, nil
}

// missing tells whether a file is not there. What else may be wrong with it is not for this to say.
func missing(name string) bool {
	_, err := os.Lstat(name)
	return errors.Is(err, fs.ErrNotExist)
}
