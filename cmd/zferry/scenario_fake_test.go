package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/zferry/zferry/testing/fakezfs"
	"github.com/zferry/zferry/testing/sshd"
)

func TestScenariosOnFakezfs(t *testing.T) {
	runScenarios(t, true, func(t *testing.T) world { return newFakeWorld(t) })
}

// fakeWorld is two systems of fakezfs: nas1 is here, nas2 behind a real sshd and a link that can be cut.
type fakeWorld struct {
	t      *testing.T
	nas    [3]*fakezfs.System // nas[1], nas[2]
	home   string
	server *sshd.Server
	link   *link
	rate   string
}

func newFakeWorld(t *testing.T) *fakeWorld {
	w := &fakeWorld{t: t, home: t.TempDir()}
	for i, pool := range []string{1: "tank", 2: "backup"} {
		if i == 0 {
			continue
		}
		var err error
		if w.nas[i], err = fakezfs.Open(w.dir(i)); err != nil {
			t.Fatal(err)
		}
		if _, err := w.nas[i].Do("zpool create " + pool); err != nil {
			t.Fatal(err)
		}
	}
	w.server = sshd.Start(t, sshd.Options{Env: map[string]string{"PATH": os.Getenv("PATH"), "FAKEZFS": w.dir(2), "GORACE": "atexit_sleep_ms=0"}})
	w.link = newLink(t, w.server.Addr)
	w.writeHome()
	return w
}

func (w *fakeWorld) dir(nas int) string { return filepath.Join(w.home, "nas"+strconv.Itoa(nas)) }

// writeHome gives the user of nas1 a key and the host keys of nas2 as they are known at the link's port.
func (w *fakeWorld) writeHome() {
	if err := os.MkdirAll(filepath.Join(w.home, ".ssh"), 0o700); err != nil {
		w.t.Fatal(err)
	}
	for to, from := range map[string]string{w.knownHosts(): w.server.KnownHosts, w.keyFile(): w.server.PrivateKey} {
		text, err := os.ReadFile(from)
		if err != nil {
			w.t.Fatal(err)
		}
		known := strings.ReplaceAll(string(text), fmt.Sprintf(":%d ", w.server.Port), fmt.Sprintf(":%d ", w.link.port))
		if err := os.WriteFile(to, []byte(known), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *fakeWorld) keyFile() string    { return filepath.Join(w.home, ".ssh", "id_ed25519") }
func (w *fakeWorld) knownHosts() string { return filepath.Join(w.home, ".ssh", "known_hosts") }
func (w *fakeWorld) flags() []string    { return []string{"-p", strconv.Itoa(w.link.port)} }

func (w *fakeWorld) env(nas int) []string {
	return append(os.Environ(), "FAKEZFS="+w.dir(nas), "HOME="+w.home, "XDG_STATE_HOME="+filepath.Join(w.home, "state"), "SSH_AUTH_SOCK=", "GORACE=atexit_sleep_ms=0")
}

func (w *fakeWorld) sh(nas int, script string) (string, error) {
	cmd := exec.CommandContext(context.WithoutCancel(w.t.Context()), "sh", "-c", script)
	cmd.Env = w.env(nas)
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return string(out), err
}

func (w *fakeWorld) write(dataset string, bytes int) {
	w.t.Helper()
	if bytes == 0 {
		return
	}
	if err := w.nas[1].Write(dataset, int64(bytes)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *fakeWorld) start(env string, args ...string) *process {
	p := &process{t: w.t, done: make(chan struct{})}
	cmd := exec.CommandContext(context.WithoutCancel(w.t.Context()), "zferry", args...)
	cmd.Env = w.env(1)
	if w.rate != "" {
		cmd.Env = append(cmd.Env, "FAKEZFS_RATE="+w.rate)
	}
	if env != "" {
		cmd.Env = append(cmd.Env, env)
	}
	cmd.Stdout, cmd.Stderr = &p.stdout, &p.stderr
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	p.signal = func(name string) {
		_ = cmd.Process.Signal(map[string]os.Signal{"INT": os.Interrupt, "KILL": os.Kill}[name])
	}
	go func() { // ends with the process, which the cleanup sees to
		defer close(p.done)
		_ = cmd.Wait()
		p.code = cmd.ProcessState.ExitCode()
	}()
	w.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.done
	})
	return p
}

func (w *fakeWorld) login(handicap string) string {
	w.t.Helper()
	var s fakezfs.Switches
	switch handicap {
	case "no rights":
		s.Deny = []string{"receive", "create"}
	case "no sudo":
		s.Sudo = "password"
	case "no zfs":
		s.NoZFS = true
	}
	if err := w.nas[2].SetSwitches(s); err != nil {
		w.t.Fatal(err)
	}
	return w.server.User + "@127.0.0.1"
}

func (w *fakeWorld) slow(on bool) {
	w.rate = ""
	if on {
		w.rate = strconv.Itoa(24 << 20)
	}
}

func (w *fakeWorld) full() string {
	if _, err := w.nas[2].Do("zpool create small"); err != nil {
		w.t.Fatal(err)
	}
	if err := w.nas[2].SetCapacity("small", 40<<20); err != nil {
		w.t.Fatal(err)
	}
	return "small"
}

func (w *fakeWorld) cut(what string, p *process, dataset, target string) {
	send, receive := "zfs send .*"+dataset+"@", "zfs receive .*"+target
	switch what {
	case "sender killed":
		pkill(send)
	case "receiver killed":
		pkill(receive)
	case "zferry killed":
		p.signal("KILL")
	case "sshd session killed":
		w.server.KillSessions()
	case "network cut":
		w.link.freeze()
	case "nas1 powered off": // the far side hears nothing of it
		w.link.freeze()
		p.signal("KILL")
		pkill(send)
	case "nas2 powered off":
		w.link.freeze()
		pkill(receive)
		w.server.KillSessions()
	default:
		w.t.Fatalf("cut %q", what)
	}
}

func (w *fakeWorld) mend(string) { w.link.mend() }

// pkill kills every process whose command line fits, as a crash would.
func pkill(pattern string) { _ = exec.Command("pkill", "-KILL", "-f", "^"+pattern).Run() }

func (w *fakeWorld) running(names ...string) string {
	out, _ := exec.Command("pgrep", "-a", "-f", "^zfs (send|receive) .*("+strings.Join(names, "|")+")").Output()
	return string(out)
}

// link is the network between nas1 and nas2: a port of this machine whose connections can fall silent.
type link struct {
	port   int
	target string

	mu     sync.Mutex // guards the fields below
	frozen bool
	silent chan struct{} // closed when the connections made so far fall silent for good
}

func newLink(t *testing.T, target string) *link {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &link{port: l.Addr().(*net.TCPAddr).Port, target: target, silent: make(chan struct{})}
	var conns sync.WaitGroup
	end := make(chan struct{})
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { k.carry(c, end) })
		}
	})
	t.Cleanup(func() {
		close(end)
		_ = l.Close()
		conns.Wait()
	})
	return k
}

func (k *link) carry(near net.Conn, end <-chan struct{}) {
	k.mu.Lock()
	frozen, silent := k.frozen, k.silent
	k.mu.Unlock()
	defer near.Close()
	if frozen {
		<-end
		return
	}
	far, err := net.Dial("tcp", k.target)
	if err != nil {
		return
	}
	defer far.Close()
	over := make(chan struct{}, 2)
	var copies sync.WaitGroup
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		copies.Go(func() {
			copyUntil(way[1], way[0], silent)
			select {
			case <-silent:
			default:
				over <- struct{}{}
			}
		})
	}
	select {
	case <-over:
	case <-silent:
		<-end // neither side is told
	case <-end:
	}
	_ = near.Close()
	_ = far.Close()
	copies.Wait()
}

// copyUntil copies and stops without a word once silent is closed.
func copyUntil(dst, src net.Conn, silent <-chan struct{}) {
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		select {
		case <-silent:
			return
		default:
		}
		if n > 0 {
			if _, werr := dst.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (k *link) freeze() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.frozen = true
	close(k.silent)
}

func (k *link) mend() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.frozen {
		k.frozen, k.silent = false, make(chan struct{})
	}
}
