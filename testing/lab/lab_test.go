//go:build lab

package lab

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
)

func startLab(t *testing.T) *Lab {
	t.Helper()
	began := time.Now()
	l, err := Start(t.Context(), Options{Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Logf("started in %v", time.Since(began).Round(10*time.Millisecond))
	return l
}

func run(t *testing.T, m *Machine, script string) string {
	t.Helper()
	began := time.Now()
	out, err := m.Run(t.Context(), script)
	if err != nil {
		t.Fatalf("%s: %s: %v", m.Name(), script, err)
	}
	t.Logf("%6v %s: %s", time.Since(began).Round(time.Millisecond), m.Name(), script)
	return strings.TrimSpace(out)
}

func TestLabMachines(t *testing.T) {
	l := startLab(t)
	nas1, nas2 := l.Machine("nas1"), l.Machine("nas2")

	t.Run("pools", func(t *testing.T) {
		for _, m := range l.machines {
			if got := run(t, m, "zfs list -Hrpo name,mountpoint "+m.Pool()); got != m.Pool()+"\t/"+m.Pool() {
				t.Errorf("%s has %q", m.Name(), got)
			}
			if got := run(t, m, "zfs version"); !strings.Contains(got, "zfs-kmod-"+OpenZFS23+".") {
				t.Errorf("version %q", got)
			}
			if got := run(t, m, "ls /"+m.Pool()+"/.zfs/snapshot"); got != "" {
				t.Errorf("%s has snapshots %q", m.Name(), got)
			}
		}
	})
	t.Run("clock", func(t *testing.T) {
		for _, m := range l.machines {
			var sec int64
			if _, err := fmt.Sscan(run(t, m, "date +%s"), &sec); err != nil {
				t.Fatal(err)
			}
			if off := time.Since(time.Unix(sec, 0)); off.Abs() > 5*time.Second {
				t.Errorf("%s is %v behind", m.Name(), off)
			}
		}
	})
	t.Run("ssh", func(t *testing.T) {
		for _, to := range []string{"root@nas2", "rep@10.77.0.2", "repsudo@fd00:77::2"} {
			if got := run(t, nas1, "ssh -o BatchMode=yes "+to+" 'hostname; id -un'"); got != "nas2\n"+to[:strings.Index(to, "@")] {
				t.Errorf("%s is %q", to, got)
			}
		}
		if got := run(t, nas2, "ssh -o BatchMode=yes rep@nas1 hostname"); got != "nas1" {
			t.Errorf("back is %q", got)
		}
	})
	t.Run("sudo", func(t *testing.T) {
		run(t, nas1, "ssh -o BatchMode=yes repsudo@nas2 sudo -n zfs list")
		_, err := nas1.Run(t.Context(), "ssh -o BatchMode=yes rep@nas2 sudo -n zfs list")
		var exit *ExitError
		if !errors.As(err, &exit) || !strings.Contains(exit.Stderr, "a password is required") {
			t.Errorf("sudo of rep: %v", err)
		}
	})
	t.Run("outside", func(t *testing.T) {
		known := filepath.Join(t.TempDir(), "known_hosts")
		if err := os.WriteFile(known, []byte(l.KnownHosts()), 0o600); err != nil {
			t.Fatal(err)
		}
		host, port, _ := strings.Cut(nas2.Forward(), ":")
		out, err := exec.CommandContext(t.Context(), "ssh", "-F", "none", "-i", l.KeyFile(), "-p", port,
			"-o", "BatchMode=yes", "-o", "UserKnownHostsFile="+known, "rep@"+host, "hostname").CombinedOutput()
		if err != nil || string(out) != "nas2\n" {
			t.Errorf("ssh: %v: %s", err, out)
		}
	})
	t.Run("copy", func(t *testing.T) {
		local := filepath.Join(t.TempDir(), "tool")
		if err := os.WriteFile(local, []byte("#!/bin/sh\necho copied\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := nas1.Copy(t.Context(), local, "/usr/local/bin/it's a tool", 0o755); err != nil {
			t.Fatal(err)
		}
		if got := run(t, nas1, `"/usr/local/bin/it's a tool"`); got != "copied" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("streams", func(t *testing.T) {
		var out, errs strings.Builder
		err := nas1.RunIn(t.Context(), "cat; echo bad >&2; exit 3", strings.NewReader("good"), &out, &errs)
		var exit *ExitError
		if !errors.As(err, &exit) || exit.Code != 3 || out.String() != "good" || errs.String() != "bad\n" {
			t.Errorf("%v, %q, %q", err, out.String(), errs.String())
		}
	})
	t.Run("cancel", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := nas1.Run(ctx, "sleep 1234; true")
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if got := run(t, nas1, "pgrep -x sleep -a | grep -c 1234 || true"); got != "0" {
			t.Errorf("%s scripts live on", got)
		}
	})
	t.Run("state", func(t *testing.T) { testState(t, l) })
	t.Run("link", func(t *testing.T) { testLink(t, l) })
	t.Run("delay", func(t *testing.T) { testDelay(t, l) })
	t.Run("power", func(t *testing.T) { testPower(t, l) })
	t.Run("idle", func(t *testing.T) { testIdle(t, l) })
}

func timed(t *testing.T, what string, f func() error) {
	t.Helper()
	began := time.Now()
	if err := f(); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	t.Logf("%6v %s", time.Since(began).Round(time.Millisecond), what)
}

func testState(t *testing.T, l *Lab) {
	ctx := t.Context()
	nas1 := l.Machine("nas1")
	run(t, nas1, "zfs create tank/kept && echo hello >/tank/kept/f && zfs snapshot tank/kept@s")
	timed(t, "save", func() error { return l.Save(ctx, "one") })
	run(t, nas1, "zfs destroy -r tank/kept")
	timed(t, "load", func() error { return l.Load(ctx, "one") })
	if got := run(t, nas1, "cat /tank/kept/f; zfs list -Ht snapshot -o name"); got != "hello\ntank/kept@s" {
		t.Errorf("after load: %q", got)
	}
	timed(t, "load ready", func() error { return l.Load(ctx, Ready) })
	if got := run(t, nas1, "zfs list -Hro name tank"); got != "tank" {
		t.Errorf("ready has %q", got)
	}
	if err := nas1.Load(ctx, "never"); err == nil || !strings.Contains(err.Error(), "never") {
		t.Errorf("load of an unknown tag: %v", err)
	}
	if err := nas1.Save(ctx, "a b"); err == nil {
		t.Error("a tag with a blank was taken")
	}
	if got := run(t, nas1, "hostname"); got != "nas1" {
		t.Errorf("after errors: %q", got)
	}
}

func testLink(t *testing.T, l *Lab) {
	ctx := t.Context()
	nas1 := l.Machine("nas1")
	ping := func(to string) error {
		_, err := nas1.Run(ctx, "timeout 4 bash -c 'until : </dev/tcp/"+to+"/22; do sleep 0.1; done' 2>/dev/null")
		return err
	}
	timed(t, "cut", func() error { return l.SetLink(ctx, false) })
	if ping("10.77.0.2") == nil {
		t.Error("a cut link carries packets")
	}
	timed(t, "plug", func() error { return l.SetLink(ctx, true) })
	for _, to := range []string{"10.77.0.2", "fd00:77::2"} {
		if err := ping(to); err != nil {
			t.Errorf("%s after the cut: %v", to, err)
		}
	}
}

func testDelay(t *testing.T, l *Lab) {
	ctx := t.Context()
	nas1 := l.Machine("nas1")
	// The quickest of three, because the first look for the far side costs more on a busy machine.
	trip := `python3 -c 'import socket,time
def trip():
  t=time.monotonic()
  socket.create_connection(("10.77.0.2",22)).close()
  return time.monotonic()-t
print(int(min(trip() for i in range(3))*1000))'`
	measure := func() (ms int) {
		if _, err := fmt.Sscan(run(t, nas1, trip), &ms); err != nil {
			t.Fatal(err)
		}
		return ms
	}
	before := measure()
	timed(t, "delay", func() error { return l.Delay(ctx, 150*time.Millisecond, 0.1) })
	during := measure()
	timed(t, "lift", func() error { return l.Delay(ctx, 0, 0) })
	after := measure()
	if during < 300 || before > 200 || after > 200 {
		t.Errorf("connecting took %d, %d, %d ms", before, during, after)
	}
}

func testPower(t *testing.T, l *Lab) {
	ctx := t.Context()
	if !l.Virtual() {
		if err := l.Machine("nas1").PowerOff(ctx); !errors.Is(err, ErrUnsupported) {
			t.Errorf("power off without a virtual machine: %v", err)
		}
		return
	}
	for _, name := range []string{"nas1", "nas2"} {
		m := l.Machine(name)
		run(t, m, "zfs create "+m.Pool()+"/p && echo kept >/"+m.Pool()+"/p/f && zpool sync && echo lost >/run/f")
		timed(t, "off", func() error { return m.PowerOff(ctx) })
		if err := m.PowerOff(ctx); err == nil {
			t.Error("powered off twice")
		}
		short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		if _, err := m.Run(short, "true"); err == nil {
			t.Error("a machine without power answers")
		}
		cancel()
		timed(t, "boot", func() error { return m.Start(ctx) })
		if got := run(t, m, "cat /"+m.Pool()+"/p/f; test -e /run/f && echo memory survived; true"); got != "kept" {
			t.Errorf("after power loss: %q", got)
		}
	}
	if got := run(t, l.Machine("nas1"), "ssh -o BatchMode=yes nas2 hostname"); got != "nas2" {
		t.Errorf("ssh after power loss: %q", got)
	}
	timed(t, "off", func() error { return l.Machine("nas2").PowerOff(ctx) })
	timed(t, "load of a machine that is off", func() error { return l.Load(ctx, Ready) })
	if got := run(t, l.Machine("nas1"), "ssh -o BatchMode=yes nas2 hostname"); got != "nas2" {
		t.Errorf("ssh after load: %q", got)
	}
}

func testIdle(t *testing.T, l *Lab) {
	if !l.Virtual() {
		return // there is no emulator that could be busy
	}
	cpu := func() (ticks int) {
		for _, m := range l.machines {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.hardware.(*vm).proc.pid))
			if err != nil {
				t.Fatal(err)
			}
			f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')'):]))
			var user, system int
			_, _ = fmt.Sscan(f[12], &user)
			_, _ = fmt.Sscan(f[13], &system)
			ticks += user + system
		}
		return ticks
	}
	time.Sleep(2 * time.Second)
	before := cpu()
	time.Sleep(5 * time.Second)
	if used := cpu() - before; used > 100 {
		t.Errorf("idle machines used %d%% of a processor", used/5)
	} else {
		t.Logf("idle machines use %.1f%% of a processor", float64(used)/5)
	}
}
