package ssh_test

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/zferry/zferry/ssh"
	"github.com/zferry/zferry/testing/sshd"
)

// gauge notes how many are inside at once.
type gauge struct{ now, most atomic.Int32 }

func (g *gauge) enter() {
	n := g.now.Add(1)
	for m := g.most.Load(); n > m && !g.most.CompareAndSwap(m, n); m = g.most.Load() {
	}
}

func (g *gauge) leave() { g.now.Add(-1) }

type readFunc func(p []byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func TestLimitsHoldForAnAddress(t *testing.T) {
	s := sshd.Start(t, sshd.Options{})
	var d ssh.Dialer
	// Two configurations, so that the peers cannot share connections.
	var peers []*ssh.Peer
	for _, keepalive := range []time.Duration{0, time.Minute} {
		c := config(s)
		c.Keepalive = keepalive
		p, err := d.Dial(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		peers = append(peers, p)
	}
	var streams gauge
	var all errgroup.Group
	release := make(chan struct{})
	for i := range 24 {
		all.Go(func() error {
			input := readFunc(func([]byte) (int, error) {
				<-release
				streams.leave() // the command ends after that, and only then another one may begin
				return 0, io.EOF
			})
			_, err := peers[i%2].Stream(t.Context(), [][]string{{"cat"}}, input, nil, func(int, string) error {
				streams.enter()
				return nil
			})
			return err
		})
	}
	eventually(t, "eight streams", func() bool { return streams.now.Load() == 8 })
	time.Sleep(300 * time.Millisecond) // for a ninth, which must not come
	close(release)
	if err := all.Wait(); err != nil {
		t.Error(err)
	}
	if most := streams.most.Load(); most != 8 {
		t.Errorf("%d streams at once", most)
	}
	if n := s.Sessions(); n > 10 {
		t.Errorf("%d connections at the end", n)
	}
	a, b := peers[0].Stats(), peers[1].Stats()
	if a.ControlConnections != 1 || b.ControlConnections != 1 || a.Streams != 12 || b.Streams != 12 {
		t.Errorf("stats %+v, %+v", a, b)
	}
}

func TestStreamConnectionsAreReused(t *testing.T) {
	p := dial(t, config(sshd.Start(t, sshd.Options{})))
	p.Prepare(t.Context())
	for range 5 {
		if _, err := p.Stream(t.Context(), [][]string{{"true"}}, nil, nil, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Stream(t.Context(), [][]string{{"false"}}, nil, nil, nil); !errors.As(err, new(*ssh.ExitError)) {
			t.Fatal(err)
		}
		p.Prepare(t.Context()) // one is ready
	}
	if got, want := p.Stats(), (ssh.Stats{ControlConnections: 1, StreamConnections: 1, Channels: 10, Streams: 10}); got != want {
		t.Errorf("stats %+v, want %+v", got, want)
	}
}

func TestUnusedStreamConnectionsAreClosed(t *testing.T) {
	s := sshd.Start(t, sshd.Options{})
	p := dial(t, config(s))
	ssh.SetIdle(p, 100*time.Millisecond)
	if _, err := p.Stream(t.Context(), [][]string{{"true"}}, nil, nil, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "only the control connection is left", func() bool { return s.Sessions() == 1 })
	if _, err := p.Stream(t.Context(), [][]string{{"true"}}, nil, nil, nil); err != nil {
		t.Fatal(err)
	}
	if got := p.Stats(); got.StreamConnections != 2 {
		t.Errorf("stats %+v", got)
	}
}

func TestLoginsAtOnce(t *testing.T) {
	var logins gauge
	srv := &server{
		session: answering(""),
		login:   func() { logins.enter(); time.Sleep(50 * time.Millisecond); logins.leave() },
	}
	c := srv.start(t)
	var d ssh.Dialer
	var all sync.WaitGroup
	for i := range 8 { // no more, or they take each other's idle connections
		c := c
		c.KeepaliveCount = 3 + i // else they would share
		all.Go(func() {
			p, err := d.Dial(t.Context(), c)
			if err != nil {
				t.Error(err)
				return
			}
			defer p.Close()
			p.Prepare(t.Context())
			if _, err := p.Stream(t.Context(), [][]string{{"true"}}, nil, nil, nil); err != nil {
				t.Error(err)
			}
			if got := p.Stats(); got.ControlConnections != 1 || got.StreamConnections != 1 {
				t.Errorf("stats %+v", got)
			}
		})
	}
	all.Wait()
	if most := logins.most.Load(); most > 4 || most < 2 {
		t.Errorf("%d logins at once", most)
	}
}

func TestPeersShareConnections(t *testing.T) {
	s := sshd.Start(t, sshd.Options{})
	var d ssh.Dialer
	var peers []*ssh.Peer
	for range 3 {
		p, err := d.Dial(t.Context(), config(s))
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		peers = append(peers, p)
		if _, err := p.Stream(t.Context(), [][]string{{"true"}}, nil, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.Sessions(); n != 2 {
		t.Errorf("%d connections", n)
	}
	if got := peers[2].Stats(); got.ControlConnections+got.StreamConnections != 0 || got.Streams != 1 {
		t.Errorf("stats %+v", got)
	}
	_ = peers[0].Close()
	if _, _, err := peers[0].Output(t.Context(), []string{"true"}); !errors.Is(err, ssh.ErrClosed) {
		t.Errorf("output of a closed peer: %v", err)
	}
	if _, err := peers[0].Stream(t.Context(), [][]string{{"true"}}, nil, nil, nil); !errors.Is(err, ssh.ErrClosed) {
		t.Errorf("stream of a closed peer: %v", err)
	}
	if _, _, err := peers[1].Output(t.Context(), []string{"true"}); err != nil {
		t.Errorf("output of another peer: %v", err)
	}
}

// A host that takes one command at a time on a connection gets them one after the other.
func TestFewSessions(t *testing.T) {
	p := dial(t, config(sshd.Start(t, sshd.Options{MaxSessions: 1})))
	var all errgroup.Group
	for range 12 {
		all.Go(func() error {
			_, _, err := p.Output(t.Context(), []string{"sleep", "0.02"})
			return err
		})
	}
	if err := all.Wait(); err != nil {
		t.Error(err)
	}
	if got := p.Stats(); got.ControlConnections != 1 || got.Channels != 12 {
		t.Errorf("stats %+v", got)
	}
}

// Close ends what is under way.
func TestClose(t *testing.T) {
	p := dial(t, config(sshd.Start(t, sshd.Options{})))
	var all sync.WaitGroup
	p.Prepare(t.Context())
	for range 3 {
		all.Go(func() {
			if _, _, err := p.Output(t.Context(), []string{"sleep", "1000"}); err == nil {
				t.Error("output: no error")
			}
		})
		all.Go(func() {
			if _, err := p.Stream(t.Context(), [][]string{{"sleep", "1000"}}, nil, nil, nil); err == nil {
				t.Error("stream: no error")
			}
		})
	}
	time.Sleep(300 * time.Millisecond)
	within(t, 3*time.Second, func() { _ = p.Close(); all.Wait() })
}
