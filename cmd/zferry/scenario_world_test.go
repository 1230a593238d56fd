package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// world is two machines with ZFS, nas1 with pool tank and nas2 with pool backup, fresh for each scenario. There are two
// kinds: fakezfs with a real sshd, and the lab with real OpenZFS. Every scenario runs on both.
type world interface {
	// sh runs a script on nas1 or nas2.
	sh(nas int, script string) (stdout string, err error)
	// write puts a file of random bytes into a dataset of nas1.
	write(dataset string, bytes int)
	// start runs zferry on nas1, by sh with env in front of it.
	start(env string, args ...string) *process
	// login is user@nas2 for root, or for a user with the given handicap: "no rights", "no sudo", "no zfs".
	login(handicap string) string
	// flags are needed by zferry to reach nas2.
	flags() []string
	// slow makes streams of later runs slow enough to be cut; false undoes it.
	slow(on bool)
	// full makes a small pool on nas2 and returns its name.
	full() string
	// cut does what its name says while p sends dataset to target; mend undoes it, so that a next run can work.
	cut(what string, p *process, dataset, target string)
	mend(what string)
	// running lists the zfs send and receive processes of both machines whose command line holds one of the names.
	running(names ...string) string
	// keyFile is nas1's own private key, knownHosts its file.
	keyFile() string
	knownHosts() string
}

// process is a zferry that runs in the background.
type process struct {
	t      *testing.T
	stdout locked
	stderr locked
	done   chan struct{}
	code   int // after done
	signal func(name string)
}

type locked struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// line is what the tests read of zferry's JSON lines.
type line struct {
	Type           string `json:"type"`
	Bytes          int64  `json:"bytes"`
	Streams        any    `json:"streams"`
	Snapshots      int    `json:"snapshots"`
	Datasets       any    `json:"datasets"`
	SSHConnections int    `json:"ssh_connections"`
	Message        string `json:"message"`
}

func (p *process) lines() []line {
	var list []line
	for text := range strings.Lines(p.stdout.String()) {
		var l line
		if json.Unmarshal([]byte(text), &l) == nil {
			list = append(list, l)
		}
	}
	return list
}

// last is the last line of a type.
func (p *process) last(kind string) line {
	p.t.Helper()
	list := p.lines()
	slices.Reverse(list)
	for _, l := range list {
		if l.Type == kind {
			return l
		}
	}
	p.t.Fatalf("no %s in the output:\n%s%s", kind, p.stdout.String(), p.stderr.String())
	return line{}
}

// moved waits until so many bytes have moved.
func (p *process) moved(n int64) {
	p.t.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	for {
		for _, l := range p.lines() {
			if l.Type == "progress" && l.Bytes >= n {
				return
			}
		}
		select {
		case <-p.done:
			p.t.Fatalf("ended (exit code %d) before %d bytes had moved:\n%s%s", p.code, n, p.stdout.String(), p.stderr.String())
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%d bytes did not move in time:\n%s%s", n, p.stdout.String(), p.stderr.String())
		}
	}
}

// wait returns the exit code.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(4 * time.Minute):
		p.t.Fatalf("does not end:\n%s%s", p.stdout.String(), p.stderr.String())
	}
	return p.code
}

// ok wants success.
func (p *process) ok() *process {
	p.t.Helper()
	if code := p.wait(); code != exitOK {
		p.t.Fatalf("exit code %d:\n%s%s", code, p.stdout.String(), p.stderr.String())
	}
	return p
}

// replicate pushes a tree from nas1 to nas2.
func replicate(w world, source, target string, flags ...string) *process {
	args := append([]string{"replicate", "-r", "--yes", "--json"}, w.flags()...)
	return w.start("", append(append(args, flags...), source, w.login("")+":"+target)...)
}

// must runs a script that is to succeed.
func must(t *testing.T, w world, nas int, script string) string {
	t.Helper()
	out, err := w.sh(nas, script)
	if err != nil {
		t.Fatalf("nas%d: %s: %v", nas, script, err)
	}
	return out
}

// guids lists the snapshots below root with their GUIDs, root cut off.
func guids(t *testing.T, w world, nas int, root string) []string {
	t.Helper()
	var list []string
	for l := range strings.Lines(must(t, w, nas, "zfs list -Hp -t snapshot -o name,guid -r "+root)) {
		list = append(list, strings.TrimPrefix(strings.TrimSpace(l), root))
	}
	slices.Sort(list)
	return list
}

// same wants both trees to have the same snapshots by GUID.
func same(t *testing.T, w world, source, target string) {
	t.Helper()
	want := guids(t, w, 1, source)
	if len(want) == 0 {
		t.Fatal("the source has no snapshots")
	}
	if d := cmp.Diff(want, guids(t, w, 2, target)); d != "" {
		t.Errorf("snapshots (-nas1 +nas2):\n%s", d)
	}
}

// everything is all that zfs knows of names, identity and unfinished receives on both machines.
func everything(t *testing.T, w world) string {
	t.Helper()
	const list = "zfs list -Hp -t all -o name,guid,createtxg,receive_resume_token"
	return must(t, w, 1, list) + "--\n" + must(t, w, 2, list)
}
