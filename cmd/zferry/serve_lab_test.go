//go:build lab

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zferry/zferry/testing/lab"
)

// TestServeLab kills and ends host and plugin in the middle of a transfer between two machines (decisions 3).
func TestServeLab(t *testing.T) {
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
	dir := t.TempDir()
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", dir+string(filepath.Separator), "../../cmd/...")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	w := &serveLab{t: t, labServe: labServe{l}}
	w.check(l.Save(ctx, "bare"))
	w.prepare(ctx, dir)
	for _, test := range []struct {
		name string
		run  func(context.Context)
	}{
		{"plugin killed", w.pluginKilled},
		{"host killed", w.hostKilled},
		{"host upgraded by SIGHUP", w.hostLeaves},
		{"SIGTERM", w.drained},
		{"job aborted", w.aborted},
		{"package under systemd", w.packaged},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.t = t
			state := "served"
			if test.name == "package under systemd" {
				state = "bare"
			}
			if err := l.Load(ctx, state); err != nil {
				t.Fatal(err)
			}
			test.run(ctx)
			if t.Failed() {
				log, _ := w.nas1(ctx, "tail -n 40 "+serveLog+" "+defaultState+"/plugin/plugin.log")
				t.Log(log)
			}
		})
	}
}

type serveLab struct {
	labServe

	t *testing.T
}

const (
	labSource  = "tank/served"
	labTarget  = "backup/served"
	labLarge   = 48 << 20 // bytes that the run moves
	labCutAt   = 12 << 20
	labChatter = 20 // small datasets, at each of which the far zfs complains at length
)

func (w *serveLab) must(ctx context.Context, nas int, script string) string {
	w.t.Helper()
	out, err := w.lab.Machine(fmt.Sprintf("nas%d", nas)).Run(ctx, script)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *serveLab) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// prepare leaves both machines as every test finds them: a host that serves, a task, and nothing sent.
func (w *serveLab) prepare(ctx context.Context, dir string) {
	w.check(w.install(ctx, dir))
	w.must(ctx, 1, fmt.Sprintf(`set -e
zfs create %[1]s
head -c %[2]d /dev/urandom > /%[1]s/large
for i in $(seq %[3]d); do zfs create %[1]s/d$i; echo $i > /%[1]s/d$i/f; done
zfs snapshot -r %[1]s@one`, labSource, labLarge, labChatter))
	// Only what the plugin itself writes counts as its log.
	w.must(ctx, 2, `cat > /usr/local/sbin/zfs <<'END'
#!/bin/sh
[ "$1" != receive ] || head -c 60000 /dev/zero | tr '\0' x >&2
exec /usr/sbin/zfs "$@"
END
chmod 755 /usr/local/sbin/zfs`)
	w.check(w.start(ctx))
	connection, err := w.connect(ctx)
	w.check(err)
	task, err := w.create(ctx, "served", connection, labSource, labTarget)
	w.check(err)
	if task != 1 {
		w.t.Fatalf("task %d", task)
	}
	w.check(w.lab.Save(ctx, "served"))
}

// begin starts the run and waits until it is in the middle.
func (w *serveLab) begin(ctx context.Context) (job int64) {
	w.t.Helper()
	w.check(w.lab.Delay(ctx, 20*time.Millisecond, 0))
	job, err := w.run(ctx, 1)
	w.check(err)
	w.check(w.moved(ctx, job, labCutAt))
	return job
}

// succeeded wants the job to have succeeded and both sides to be equal.
func (w *serveLab) succeeded(ctx context.Context, job int64) {
	w.t.Helper()
	j, err := w.ended(ctx, job)
	w.check(err)
	w.check(j.failure())
	const list = "zfs list -Hp -t snapshot -o name,guid -r "
	source := strings.ReplaceAll(w.must(ctx, 1, list+labSource), labSource, "")
	if target := strings.ReplaceAll(w.must(ctx, 2, list+labTarget), labTarget, ""); source != target || source == "" {
		w.t.Errorf("snapshots differ\nnas1:\n%s\nnas2:\n%s", source, target)
	}
}

// left lists what carries streams on both machines.
func (w *serveLab) left(ctx context.Context) string {
	const script = "pgrep -a -f '^(/usr/sbin/)?zfs (send|receive) .*served' || true"
	return w.must(ctx, 1, script) + w.must(ctx, 2, script)
}

func (w *serveLab) pluginKilled(ctx context.Context) {
	job := w.begin(ctx)
	w.must(ctx, 1, "pkill -KILL -x zferry-plugin")
	// Asked at once, before it is started again.
	if _, err := w.call(ctx, "replication.query"); err == nil {
		w.t.Log("the plugin was back before it was asked")
	} else if !strings.Contains(err.Error(), "plugin") {
		w.t.Errorf("the error does not name the plugin: %v", err)
	}
	w.check(w.lab.Delay(ctx, 0, 0))
	j, err := w.ended(ctx, job)
	w.check(err)
	if j.State != "FAILED" || j.Error == nil || !strings.Contains(*j.Error, "interrupted") {
		w.t.Errorf("job %d is %s: %v", job, j.State, j.failure())
	}
	story := &story{labServe: w.labServe}
	again, err := story.next(ctx, job)
	w.check(err)
	w.succeeded(ctx, again)
	w.resumed(ctx, again)
}

// resumed wants the log of a job to tell of a resumed stream, and fewer bytes than the whole.
func (w *serveLab) resumed(ctx context.Context, job int64) {
	w.t.Helper()
	j, err := w.job(ctx, job)
	w.check(err)
	if x := j.Progress.Extra; x == nil || x.BytesSent >= labLarge {
		w.t.Errorf("job %d did not resume: %+v", job, x)
	}
}

func (w *serveLab) hostKilled(ctx context.Context) {
	job := w.begin(ctx)
	before := w.must(ctx, 1, "stat -c %s "+defaultState+"/plugin/plugin.log")
	w.must(ctx, 1, "pkill -KILL -x zferry")
	w.check(w.lab.Delay(ctx, 0, 0))
	// The run goes on without a host, and its log grows.
	w.must(ctx, 1, fmt.Sprintf(`for i in $(seq 1200); do
	[ $(($(stat -c %%s %s/plugin/plugin.log) - %s)) -lt 1000000 ] || exit 0
	sleep 0.1
done
exit 1`, defaultState, strings.TrimSpace(before)))
	w.check(w.start(ctx))
	w.watched(ctx, job)
	w.succeeded(ctx, job)
}

// watched follows a job with a client that subscribes anew.
func (w *serveLab) watched(ctx context.Context, job int64) {
	w.t.Helper()
	out := w.must(ctx, 1, fmt.Sprintf("zferry watch %d", job))
	if !strings.Contains(out, fmt.Sprintf(`"id":%d,"method":"replication.run","state":"SUCCESS"`, job)) {
		w.t.Errorf("a client that subscribes anew sees:\n%s", out)
	}
}

func (w *serveLab) hostLeaves(ctx context.Context) {
	job := w.begin(ctx)
	pid := w.must(ctx, 1, "pgrep -x zferry-plugin")
	w.must(ctx, 1, "pkill -HUP -x zferry; for i in $(seq 100); do pgrep -x zferry >/dev/null || exit 0; sleep 0.1; done; exit 1")
	w.check(w.lab.Delay(ctx, 0, 0))
	w.check(w.start(ctx))
	if now := w.must(ctx, 1, "pgrep -x zferry-plugin"); now != pid {
		w.t.Errorf("the plugin was pid %s, is pid %s", pid, now)
	}
	w.watched(ctx, job)
	w.succeeded(ctx, job)
}

func (w *serveLab) drained(ctx context.Context) {
	job := w.begin(ctx)
	out := w.must(ctx, 1, `begin=$(date +%s); pkill -TERM -x zferry
for i in $(seq 300); do pgrep -x 'zferry|zferry-plugin' >/dev/null || { echo $(($(date +%s) - begin)); exit 0; }; sleep 0.1; done; exit 1`)
	w.t.Logf("ended within %s s", strings.TrimSpace(out))
	if left := w.left(ctx); left != "" {
		w.t.Errorf("left behind:\n%s", left)
	}
	w.check(w.lab.Delay(ctx, 0, 0))
	w.check(w.start(ctx))
	story := &story{labServe: w.labServe}
	again, err := story.next(ctx, job)
	w.check(err)
	if j, err := w.job(ctx, job); err != nil || j.State != "FAILED" {
		w.t.Errorf("job %d is %s, %v", job, j.State, err)
	}
	w.succeeded(ctx, again)
	w.resumed(ctx, again)
}

func (w *serveLab) aborted(ctx context.Context) {
	job := w.begin(ctx)
	// It prints when the look began that found nothing, in milliseconds: looking takes an emulated machine a while.
	gone := `begin=$(date +%s%N)
for i in $(seq 200); do now=$(date +%s%N)
pgrep -f '^(/usr/sbin/)?zfs (send|receive) .*served' >/dev/null || { echo $(((now - begin) / 1000000)); exit 0; }; sleep 0.05; done; exit 1`
	// A receive that is in the kernel ends when that has written what it has, which an emulated disk may take seconds for.
	synced := w.must(ctx, 2, "begin=$(date +%s%N); zpool sync backup; echo $((($(date +%s%N) - begin) / 1000000))")
	writing, err := strconv.Atoi(strings.TrimSpace(synced))
	w.check(err)
	limit := 2000 + 2*writing
	w.must(ctx, 1, fmt.Sprintf("zferry jobs abort %d", job))
	var ends [2]string
	var wg sync.WaitGroup
	for i, name := range []string{"nas1", "nas2"} {
		wg.Go(func() {
			out, err := w.lab.Machine(name).Run(ctx, gone)
			ends[i] = strings.TrimSpace(out)
			if ms, wrong := strconv.Atoi(ends[i]); err != nil || wrong != nil || ms > limit {
				w.t.Errorf("%s: gone %s ms after the answer, want at most %d: %v", name, ends[i], limit, err)
			}
		})
	}
	wg.Wait()
	w.t.Logf("gone on nas1 after %s ms, on nas2 after %s ms; a sync took %d ms", ends[0], ends[1], writing)
	j, err := w.ended(ctx, job)
	w.check(err)
	if j.State != "ABORTED" {
		w.t.Errorf("job %d is %s", job, j.State)
	}
	if left := w.left(ctx); left != "" {
		w.t.Errorf("left behind:\n%s", left)
	}
}

// packaged installs the package under systemd, which the lab's machines have but do not run: it gets namespaces of its own.
func (w *serveLab) packaged(ctx context.Context) {
	build := exec.CommandContext(ctx, "make", "--no-print-directory", "-C", "../..", "deb")
	out, err := build.Output()
	w.check(err)
	lines := strings.Fields(string(out))
	deb := filepath.Join("../..", lines[len(lines)-1])
	w.check(w.lab.Machine("nas1").Copy(ctx, deb, "/root/zferry.deb", 0o644))
	w.must(ctx, 1, `setsid unshare --fork --pid --mount --cgroup sh -c '
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs -o mode=755 run /run
mkdir -p /sys/fs/cgroup /run/lock
mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=lab /lib/systemd/systemd --system --unit=basic.target
' >/var/log/systemd.log 2>&1 </dev/null &
cat > /root/in <<'END'
#!/bin/sh
exec nsenter -t "$(pgrep -o -x systemd)" --pid --mount --cgroup "$@"
END
chmod 755 /root/in
for i in $(seq 600); do
	/root/in systemctl is-active --quiet basic.target 2>/dev/null && exit 0
	sleep 0.2
done
cat /var/log/systemd.log >&2
exit 1`)
	w.t.Log(w.must(ctx, 1, `set -e
/root/in dpkg -i /root/zferry.deb
for i in $(seq 300); do [ "$(/root/in zferry call core.ping 2>/dev/null)" = pong ] && break; sleep 0.2; done
/root/in systemctl status --no-pager --lines 5 zferry.service
[ "$(/root/in systemctl show -P KillMode zferry.service)" = process ]
[ "$(stat -c %a /var/lib/zferry/admin-api-key)" = 600 ]
/root/in zferry call system.none 2>/dev/null && exit 1
/root/in zferry call replication.query | grep -qx '\[\]'`))
	w.t.Log(w.must(ctx, 1, `set -e
host=$(/root/in systemctl show -P MainPID zferry.service)
plugin=$(pgrep -x zferry-plugin)
/root/in systemctl reload zferry.service
for i in $(seq 300); do
	now=$(/root/in systemctl show -P MainPID zferry.service)
	[ "$now" != "$host" ] && [ "$now" != 0 ] && [ "$(/root/in zferry call core.ping 2>/dev/null)" = pong ] && break
	sleep 0.2
done
[ "$now" != "$host" ]
/root/in zferry call replication.query | grep -qx '\[\]'
[ "$(pgrep -x zferry-plugin)" = "$plugin" ]
echo "the host was pid $host and is $now, the plugin stays $plugin"
/root/in dpkg -r zferry
! pgrep -x 'zferry|zferry-plugin'
[ ! -e /usr/bin/zferry ] && [ -e /var/lib/zferry/plugin/zferry.db ]
echo "removed; the state is kept"`))
}
