package ssh_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	xssh "golang.org/x/crypto/ssh"

	"github.com/zferry/zferry/ssh"
	"github.com/zferry/zferry/testing/proxy"
	"github.com/zferry/zferry/testing/sshd"
)

// answering is a session in which every command succeeds and writes text.
func answering(text string) func(xssh.Channel, <-chan *xssh.Request) {
	return started(func(ch xssh.Channel) {
		_, _ = io.WriteString(ch, text)
		_, _ = ch.SendRequest("exit-status", false, []byte{0, 0, 0, 0})
		_ = ch.Close()
	})
}

// Wherever a host falls silent, the context ends the wait.
func TestSilentHost(t *testing.T) {
	tests := map[string]func(xssh.Channel, <-chan *xssh.Request){
		"no answer to a channel": nil,
		"no answer to a command": func(_ xssh.Channel, reqs <-chan *xssh.Request) {
			for range reqs {
			}
		},
		"no sign of the command": func(_ xssh.Channel, reqs <-chan *xssh.Request) {
			for r := range reqs {
				_ = r.Reply(true, nil)
			}
		},
		"no end": started(func(xssh.Channel) {}),
	}
	for name, session := range tests {
		t.Run(name, func(t *testing.T) {
			p := dial(t, (&server{session: session}).start(t))
			cause := errors.New("enough")
			ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, cause)
			defer cancel()
			within(t, time.Second, func() {
				if _, _, err := p.Output(ctx, []string{"true"}); !errors.Is(err, cause) {
					t.Errorf("output: %v", err)
				}
			})
			within(t, 3*time.Second, func() {
				if _, err := p.Stream(ctx, [][]string{{"true"}}, nil, nil, nil); !errors.Is(err, cause) {
					t.Errorf("stream: %v", err)
				}
			})
		})
	}
}

func TestSilentConnectionIsLost(t *testing.T) {
	srv := &server{session: started(func(xssh.Channel) {}), mute: true}
	c := srv.start(t)
	c.Keepalive, c.KeepaliveCount = 100*time.Millisecond, 3
	p := dial(t, c)
	check := func(what string, err error) {
		t.Helper()
		var lost *ssh.LostError
		if !errors.As(err, &lost) || !errors.Is(err, ssh.ErrLost) || lost.Silent != 300*time.Millisecond {
			t.Errorf("%s: %v", what, err)
		}
		if err != nil && !strings.Contains(err.Error(), "nothing heard for 300ms") {
			t.Errorf("%s: %q", what, err)
		}
	}
	within(t, 2*time.Second, func() {
		_, _, err := p.Output(t.Context(), []string{"true"})
		check("output", err)
	})
	within(t, 5*time.Second, func() {
		_, err := p.Stream(t.Context(), [][]string{{"true"}}, nil, nil, nil)
		check("stream", err)
	})
	if srv.asked.Load() == 0 {
		t.Error("the host was not asked for a sign of life")
	}
}

// A host that only answers to keepalives is alive, however long a command takes.
func TestQuietConnectionIsKept(t *testing.T) {
	srv := &server{session: started(func(ch xssh.Channel) {
		time.Sleep(time.Second)
		_, _ = ch.SendRequest("exit-status", false, []byte{0, 0, 0, 0})
		_ = ch.Close()
	})}
	c := srv.start(t)
	c.Keepalive, c.KeepaliveCount = 50*time.Millisecond, 3
	if _, _, err := dial(t, c).Output(t.Context(), []string{"true"}); err != nil {
		t.Error(err)
	}
}

func TestFrozenNetworkEndsTheStream(t *testing.T) {
	s := sshd.Start(t, sshd.Options{})
	px := proxy.Start(t, s.Addr)
	c := config(s)
	c.Port, c.KnownHosts, c.HostKeys = px.Port(), nil, []string{s.HostKeyLine("ed25519")}
	c.Keepalive, c.KeepaliveCount = 100*time.Millisecond, 3
	p := dial(t, c)
	for name, send := range map[string]bool{"push": true, "pull": false} {
		var stdin io.Reader
		command := []string{"cat", "/dev/zero"}
		if send {
			stdin, command = readerFunc(func(b []byte) (int, error) { return len(b), nil }), shell("cat >/dev/null")
		}
		within(t, 5*time.Second, func() {
			_, err := p.Stream(t.Context(), [][]string{command}, stdin, io.Discard, func(int, string) error {
				time.AfterFunc(100*time.Millisecond, px.Freeze)
				return nil
			})
			if !errors.Is(err, ssh.ErrLost) {
				t.Errorf("%s: %v", name, err)
			}
		})
		px.Thaw()
	}
}

func TestMissingExitStatus(t *testing.T) {
	p := dial(t, (&server{session: started(func(ch xssh.Channel) { _ = ch.Close() })}).start(t))
	_, _, err := p.Output(t.Context(), []string{"true"})
	if !errors.As(err, new(*ssh.NoExitError)) || !strings.Contains(err.Error(), p.Addr()) {
		t.Errorf("output: %v", err)
	}
	if _, err := p.Stream(t.Context(), [][]string{{"true"}}, nil, nil, nil); !errors.As(err, new(*ssh.NoExitError)) {
		t.Errorf("stream: %v", err)
	}
}

func TestRefusedCommand(t *testing.T) {
	p := dial(t, (&server{session: func(_ xssh.Channel, reqs <-chan *xssh.Request) {
		for r := range reqs {
			_ = r.Reply(false, nil)
		}
	}}).start(t))
	if _, _, err := p.Output(t.Context(), []string{"true"}); err == nil {
		t.Error("output: no error")
	}
	if _, err := p.Stream(t.Context(), [][]string{{"true"}}, nil, nil, nil); err == nil || !strings.Contains(err.Error(), p.Addr()) {
		t.Errorf("stream: %v", err)
	}
}
