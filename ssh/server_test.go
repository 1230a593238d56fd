package ssh_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	xssh "golang.org/x/crypto/ssh"

	"github.com/zferry/zferry/ssh"
)

// server is an SSH server in this process, for what a real sshd does not do when asked to.
type server struct {
	greet     func(net.Conn) bool                              // nil, or decides whether a connection is served
	login     func()                                           // nil, or called during each login
	session   func(ch xssh.Channel, reqs <-chan *xssh.Request) // nil: never answers to a new channel
	mute      bool                                             // answers no keepalive
	asked     atomic.Int32                                     // keepalives that came
	listener  net.Listener
	hostKey   xssh.Signer
	clientKey []byte
	work      sync.WaitGroup
	mu        sync.Mutex
	conns     []net.Conn
}

// newKey returns a key for either side, in PEM and ready to sign.
func newKey(t *testing.T) ([]byte, xssh.Signer) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := xssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := xssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block), signer
}

// start serves until the test ends and returns what reaches s.
func (s *server) start(t *testing.T) ssh.Config {
	t.Helper()
	_, s.hostKey = newKey(t)
	s.clientKey, _ = newKey(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.listener = l
	s.work.Go(s.accept)
	t.Cleanup(func() {
		_ = l.Close()
		s.mu.Lock()
		for _, c := range s.conns {
			_ = c.Close()
		}
		s.mu.Unlock()
		s.work.Wait()
	})
	return ssh.Config{
		User: "somebody", Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port,
		Keys: []ssh.PrivateKey{s.clientKey}, HostKeys: []string{string(xssh.MarshalAuthorizedKey(s.hostKey.PublicKey()))},
	}
}

func (s *server) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns = append(s.conns, c)
		s.mu.Unlock()
		s.work.Go(func() {
			defer c.Close()
			if s.greet == nil || s.greet(c) {
				s.serve(c)
			}
		})
	}
}

func (s *server) serve(c net.Conn) {
	config := &xssh.ServerConfig{PublicKeyCallback: func(xssh.ConnMetadata, xssh.PublicKey) (*xssh.Permissions, error) {
		if s.login != nil {
			s.login()
		}
		return nil, nil
	}}
	config.AddHostKey(s.hostKey)
	conn, channels, requests, err := xssh.NewServerConn(c, config)
	if err != nil {
		return
	}
	s.work.Go(func() {
		for r := range requests {
			s.asked.Add(1)
			if !s.mute {
				_ = r.Reply(false, nil)
			}
		}
	})
	s.work.Go(func() {
		for n := range channels {
			if s.session == nil {
				continue
			}
			ch, reqs, err := n.Accept()
			if err != nil {
				return
			}
			s.work.Go(func() { s.session(ch, reqs) })
		}
	})
	_ = conn.Wait()
}

// started answers to the request to start a command, writes the marker, and returns when the session is over.
func started(then func(ch xssh.Channel)) func(xssh.Channel, <-chan *xssh.Request) {
	return func(ch xssh.Channel, reqs <-chan *xssh.Request) {
		for r := range reqs {
			_ = r.Reply(true, nil)
			if r.Type == "exec" {
				_, _ = ch.Write([]byte("zferry-pid 999999999 1\n"))
				then(ch)
			}
		}
	}
}

// within fails the test if f takes longer.
// within holds that f does not wait for something that takes much longer. The limit is that of a machine at rest; a busy one gets
// ten times as much.
func within(t *testing.T, limit time.Duration, f func()) {
	t.Helper()
	begin := time.Now()
	f()
	if took := time.Since(begin); took > 10*limit {
		t.Errorf("took %v, want at most %v on a machine at rest", took, limit)
	}
}
