//go:build lab

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zferry/zferry/testing/lab"
)

func TestScenariosInTheLab(t *testing.T) {
	ctx := t.Context()
	l, err := lab.Start(ctx, lab.Options{Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	binary := filepath.Join(t.TempDir(), "zferry")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := l.Machine("nas1").Copy(ctx, binary, "/usr/local/bin/zferry", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := l.Save(ctx, "scenario"); err != nil {
		t.Fatal(err)
	}
	runScenarios(t, false, func(t *testing.T) world {
		if err := l.Load(ctx, "scenario"); err != nil {
			t.Fatal(err)
		}
		return &labWorld{t: t, ctx: ctx, lab: l}
	})
}

// labWorld is the lab's two machines.
type labWorld struct {
	t   *testing.T
	ctx context.Context //nolint:containedctx // of the whole test
	lab *lab.Lab
}

func (w *labWorld) machine(nas int) *lab.Machine { return w.lab.Machine(fmt.Sprintf("nas%d", nas)) }

func (w *labWorld) sh(nas int, script string) (string, error) {
	return w.machine(nas).Run(w.ctx, script)
}

func (w *labWorld) must(nas int, script string) string {
	w.t.Helper()
	return must(w.t, w, nas, script)
}

func (w *labWorld) write(dataset string, bytes int) {
	w.t.Helper()
	if bytes > 0 {
		w.must(1, fmt.Sprintf("head -c %d /dev/urandom > $(zfs get -Ho value mountpoint %s)/$(date +%%s%%N)", bytes, dataset))
	}
}

func (w *labWorld) start(env string, args ...string) *process {
	p := &process{t: w.t, done: make(chan struct{})}
	p.signal = func(name string) { _, _ = w.sh(1, "pkill -"+name+" -x zferry") }
	words := make([]string, len(args))
	for i, a := range args {
		words[i] = "'" + a + "'" // none holds a quote
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.ctx))
	go func() { // ends with the command, or its machine, or by the cleanup
		defer close(p.done)
		err := w.machine(1).RunIn(ctx, "exec env "+env+" zferry "+strings.Join(words, " "), nil, &p.stdout, &p.stderr)
		var exit *lab.ExitError
		switch {
		case errors.As(err, &exit):
			p.code = exit.Code
		case err != nil:
			p.code = -1
		}
	}()
	w.t.Cleanup(func() {
		cancel()
		<-p.done
	})
	return p
}

func (w *labWorld) login(handicap string) string {
	w.t.Helper()
	w.must(2, "[ ! -e /usr/sbin/zfs.off ] || mv /usr/sbin/zfs.off /usr/sbin/zfs")
	switch handicap {
	case "no rights", "no sudo":
		return "rep@nas2"
	case "no zfs":
		w.must(2, "mv /usr/sbin/zfs /usr/sbin/zfs.off")
	}
	return "root@nas2"
}

func (w *labWorld) flags() []string { return nil }

func (w *labWorld) keyFile() string    { return "/root/.ssh/id_ed25519" }
func (w *labWorld) knownHosts() string { return "/root/.ssh/known_hosts" }

// slow limits what nas1 sends over the link: emulated machines are fast enough to be through before a cut.
func (w *labWorld) slow(on bool) {
	w.t.Helper()
	delay := time.Duration(0)
	if on {
		delay = 20 * time.Millisecond
	}
	if err := w.lab.Delay(w.ctx, delay, 0); err != nil {
		w.t.Fatal(err)
	}
}

func (w *labWorld) full() string {
	w.must(2, "truncate -s 128M /small.img && zpool create small /small.img && zfs set quota=60M small")
	return "small"
}

func (w *labWorld) cut(what string, _ *process, dataset, target string) {
	w.t.Helper()
	var err error
	switch what {
	case "sender killed":
		w.must(1, "pkill -KILL -f '^zfs send .*"+dataset+"@'")
	case "receiver killed":
		w.must(2, "pkill -KILL -f '^zfs receive .*"+target+"'")
	case "zferry killed":
		w.must(1, "pkill -KILL -x zferry")
	case "sshd session killed":
		// The session that carries the stream; the lab's own come over another network.
		w.must(2, "for p in $(pgrep -f 'zfs receive .*"+target+"'); do while [ \"$p\" -gt 1 ]; do p=$(ps -o ppid= -p $p | tr -d ' '); case $(ps -o args= -p $p) in *@notty*) kill -KILL $p; exit 0;; esac; done; done; exit 1")
	case "network cut":
		err = w.lab.SetLink(w.ctx, false)
	case "nas1 powered off":
		err = w.machine(1).PowerOff(w.ctx)
	case "nas2 powered off":
		// What is not in a transaction group yet is lost with the power, so one must have ended.
		w.must(2, "zpool sync backup")
		err = w.machine(2).PowerOff(w.ctx)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *labWorld) mend(what string) {
	w.t.Helper()
	var err error
	switch what {
	case "network cut":
		err = w.lab.SetLink(w.ctx, true)
	case "nas1 powered off":
		err = w.machine(1).Start(w.ctx)
	case "nas2 powered off":
		err = w.machine(2).Start(w.ctx)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *labWorld) running(names ...string) string {
	w.t.Helper()
	script := "pgrep -a -f '^zfs (send|receive) .*(" + strings.Join(names, "|") + ")' || true"
	return w.must(1, script) + w.must(2, script)
}
