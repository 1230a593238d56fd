//go:build lab

package lab

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestLabNative runs the other tests where OpenZFS is already there: on a machine of the lab.
func TestLabNative(t *testing.T) {
	program := filepath.Join(t.TempDir(), "lab.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-tags", "lab", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	l, err := Start(t.Context(), Options{Virtual: true, Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	nas1 := l.Machine("nas1")
	if err := nas1.Copy(t.Context(), program, "/var/tmp/lab.test", 0o755); err != nil {
		t.Fatal(err)
	}
	mounts := run(t, nas1, "cat /proc/mounts")

	const inside = "cd /var/tmp && HOME=/root ./lab.test -test.v -test.timeout 10m -test.run "
	if got, err := nas1.Run(t.Context(), inside+"'^TestLabNativeRefused$' 2>&1"); err != nil {
		t.Errorf("with a pool of that name: %v: %s", err, got)
	}
	run(t, nas1, "zpool destroy tank")
	out, err := nas1.Run(t.Context(), inside+"'^TestLabMachines$' 2>&1")
	t.Log(out)
	if err != nil {
		t.Error(err)
	}
	// A process that is killed leaves nothing either.
	run(t, nas1, "cd /var/tmp; HOME=/root ZFERRY_LAB_HELPER=start: ./lab.test -test.run '^TestLabHelper$' >out 2>&1 & "+
		"n=0; until grep -q running out || [ $((n += 1)) -gt 600 ]; do sleep 0.1; done; zpool list tank backup; kill -KILL $!")
	run(t, nas1, "n=0; while [ -n \"$(ls /root/.cache/zferry/lab/run)\" ] && [ $((n += 1)) -lt 300 ]; do sleep 0.1; done")
	left := run(t, nas1, "zpool list -H; ls /root/.cache/zferry/lab/run; ip -br link | grep zflab; pgrep -a -f 'machine[.]sh|host[.]sh'; true")
	if left != "" {
		t.Errorf("left behind: %s", left)
	}
	after := run(t, nas1, "cat /proc/mounts")
	if want := strings.ReplaceAll(mounts+"\n", "tank /tank zfs rw,relatime,xattr,noacl,casesensitive 0 0\n", ""); strings.TrimSpace(want) != after {
		t.Errorf("mounts before:\n%s\nafter:\n%s", mounts, after)
	}
}

// TestLabNativeRefused runs on a machine of the lab, which has a pool of its own with a name that the lab wants.
func TestLabNativeRefused(t *testing.T) {
	if exec.CommandContext(t.Context(), "zpool", "list", "tank").Run() != nil {
		return // only a system with such a pool can show this
	}
	if nativeWorks(t.Context()) {
		t.Error("a pool of the user's would be used")
	}
}
