package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// scenarios are what every world must show.
var scenarios = []struct {
	name string
	run  func(t *testing.T, w world)
}{
	{"a tree: full, incremental, nothing new", treeScenario},
	{"pull", pullScenario},
	{"sender killed", cutScenario("sender killed")},
	{"receiver killed", cutScenario("receiver killed")},
	{"zferry killed", cutScenario("zferry killed")},
	{"sshd session killed", cutScenario("sshd session killed")},
	{"network cut", cutScenario("network cut")},
	{"nas1 powered off", cutScenario("nas1 powered off")},
	{"nas2 powered off", cutScenario("nas2 powered off")},
	{"cancel", cancelScenario},
	{"refusals change nothing", refusalScenario},
	{"connection faults change nothing", connectionScenario},
}

// runScenarios runs each scenario in a fresh world, beside each other where worlds can live so.
func runScenarios(t *testing.T, parallel bool, fresh func(t *testing.T) world) {
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			if parallel {
				t.Parallel()
			}
			s.run(t, fresh(t))
		})
	}
}

// tree makes filesystems, an encrypted one and a volume, with three snapshots.
func tree(t *testing.T, w world) {
	t.Helper()
	must(t, w, 1, `zfs create tank/a && zfs create tank/a/files && zfs create -V 16M tank/a/vol &&
		echo passphrase | zfs create -o encryption=on -o keyformat=passphrase tank/a/secret`)
	w.write("tank/a/files", 300_000)
	w.write("tank/a/secret", 100_000)
	must(t, w, 1, "zfs snapshot -r tank/a@s1")
	w.write("tank/a/files", 200_000)
	must(t, w, 1, "zfs snapshot -r tank/a@s2 && zfs snapshot -r tank/a@s3")
}

func treeScenario(t *testing.T, w world) {
	tree(t, w)
	first := replicate(w, "tank/a", "backup/x/a").ok().last("result")
	same(t, w, "tank/a", "backup/x/a")
	if first.Snapshots != 12 || fmt.Sprint(first.Streams) != "8" || first.SSHConnections > 2 {
		t.Errorf("first run: %+v, want 12 snapshots in 8 streams over a control and a stream connection", first)
	}
	if out := must(t, w, 2, "zfs get -Hpo value encryption backup/x/a/secret"); strings.TrimSpace(out) == "off" {
		t.Error("the encrypted dataset arrived unencrypted")
	}
	w.write("tank/a/files", 100_000)
	must(t, w, 1, "zfs snapshot -r tank/a@s4 && zfs snapshot -r tank/a@s5")
	second := replicate(w, "tank/a", "backup/x/a").ok().last("result")
	same(t, w, "tank/a", "backup/x/a")
	if second.Snapshots != 8 || fmt.Sprint(second.Streams) != "4" || second.SSHConnections > 2 {
		t.Errorf("second run: %+v, want 8 snapshots in 4 streams over a control and a stream connection", second)
	}
	idle := replicate(w, "tank/a", "backup/x/a").ok().last("result")
	if idle.Snapshots != 0 || idle.SSHConnections != 1 {
		t.Errorf("nothing new: %+v, want one control connection", idle)
	}
}

func pullScenario(t *testing.T, w world) {
	must(t, w, 2, "zfs create backup/p && zfs snapshot backup/p@s1 && zfs snapshot backup/p@s2")
	args := append([]string{"replicate", "-r", "--yes", "--json"}, w.flags()...)
	w.start("", append(args, w.login("")+":backup/p", "tank/p")...).ok()
	if d := cmp.Diff(guids(t, w, 2, "backup/p"), guids(t, w, 1, "tank/p")); d != "" {
		t.Errorf("snapshots (-nas2 +nas1):\n%s", d)
	}
}

// cutSize is how much a run moves that is to be cut, and cutAt when, in bytes.
const (
	cutSize = 56 << 20
	cutAt   = 16 << 20
)

// cutScenario cuts a run in the middle and wants the next one to resume, with fewer bytes than a fresh one, and to end
// equal by GUID.
func cutScenario(what string) func(*testing.T, world) {
	return func(t *testing.T, w world) {
		name := "cut-" + strings.ReplaceAll(what, " ", "-")
		source, target := "tank/"+name, "backup/"+name
		must(t, w, 1, "zfs create "+source)
		w.write(source, cutSize)
		must(t, w, 1, fmt.Sprintf("zfs snapshot %s@s1 && zfs snapshot %s@s2", source, source))
		w.slow(true)
		p := replicate(w, source, target)
		p.moved(cutAt)
		w.cut(what, p, source, target)
		if code := p.wait(); code == exitOK {
			t.Fatal("a run that was cut succeeded")
		}
		w.mend(what)
		w.slow(false)
		again := replicate(w, source, target).ok()
		same(t, w, source, target)
		plan := again.stdout.String()
		if !strings.Contains(plan, `"kind":"resumed"`) {
			t.Errorf("the next run did not resume:\n%s", plan)
		}
		if got := again.last("result").Bytes; got >= cutSize {
			t.Errorf("the next run moved %d bytes, a fresh one moves %d", got, cutSize)
		}
		if left := w.running(source, target); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
	}
}

func cancelScenario(t *testing.T, w world) {
	must(t, w, 1, "zfs create tank/stop")
	w.write("tank/stop", cutSize)
	must(t, w, 1, "zfs snapshot tank/stop@s1")
	w.slow(true)
	p := replicate(w, "tank/stop", "backup/stop")
	p.moved(cutAt)
	begin := time.Now()
	if w.running("tank/stop", "backup/stop") == "" {
		t.Fatal("nothing runs that could be stopped")
	}
	look := time.Since(begin) // an emulated machine takes its time to answer
	p.signal("INT")
	begin = time.Now()
	for w.running("tank/stop", "backup/stop") != "" {
		if time.Since(begin) > 20*time.Second {
			t.Fatalf("still there after 20 s:\n%s", w.running("tank/stop", "backup/stop"))
		}
		time.Sleep(20 * time.Millisecond)
	}
	if d := time.Since(begin); d > 2*time.Second+look {
		t.Errorf("both zfs processes were gone after %v, of which a look takes %v; want 2 s at most", d, look)
	}
	if code := p.wait(); code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	if text := p.stderr.String(); !strings.Contains(text, "stopped before the end") {
		t.Errorf("says %q", text)
	}
}

func refusalScenario(t *testing.T, w world) {
	must(t, w, 1, "zfs create tank/r && zfs snapshot tank/r@s1 && zfs snapshot tank/r@s2 && zfs create -V 8M tank/v && zfs snapshot tank/v@s1")
	w.write("tank/r", 100_000)
	must(t, w, 1, "zfs snapshot tank/r@s3")
	must(t, w, 2, "zfs create backup/data && zfs create backup/other && zfs snapshot backup/other@x")
	replicate(w, "tank/r", "backup/newer").ok()
	must(t, w, 2, "zfs snapshot backup/newer@theirs")
	must(t, w, 1, "zfs snapshot tank/r@s4")
	small := w.full()
	w.write("tank/v", 0)
	must(t, w, 1, "zfs create tank/big")
	w.write("tank/big", 80<<20)
	must(t, w, 1, "zfs snapshot tank/big@s1")

	tests := []struct {
		name, handicap, source, target string
		flags                          []string
		want                           []string
	}{
		{name: "dataset missing", source: "tank/none", target: "backup/n", want: []string{"tank/none", "does not exist"}},
		{name: "receive without permission", handicap: "no rights", source: "tank/r", target: "backup/n", want: []string{"permission denied"}},
		{name: "sudo wants a password", handicap: "no sudo", source: "tank/r", target: "backup/n", flags: []string{"--sudo"}, want: []string{"sudo", "password", "NOPASSWD"}},
		{name: "no zfs on the far side", handicap: "no zfs", source: "tank/r", target: "backup/n", want: []string{"zfs", "not found"}},
		{name: "target with data, no snapshots", source: "tank/r", target: "backup/data", want: []string{"Refusing to overwrite existing data"}},
		{name: "no common snapshot", source: "tank/r", target: "backup/other", want: []string{"No incremental base on dataset 'tank/r'"}},
		{name: "newer foreign snapshots", source: "tank/r", target: "backup/newer", want: []string{"theirs", "newer than the last common one"}},
		{name: "a zvol against a filesystem", source: "tank/v", target: "backup/other", want: []string{"is a volume", "is a filesystem"}},
		{name: "pool full", source: "tank/big", target: small + "/n", want: []string{"has room for"}},
		{name: "no such pool", source: "tank/r", target: "nopool/n", want: []string{"nopool"}},
	}
	for _, tt := range tests {
		if tt.handicap == "no sudo" && strings.HasPrefix(w.login(tt.handicap), "root@") {
			continue // root needs no sudo; where the tests run as root, only the lab has another user
		}
		t.Run(tt.name, func(t *testing.T) {
			before := everything(t, w)
			login := w.login(tt.handicap)
			args := append([]string{"replicate", "-r", "--yes", "--json"}, w.flags()...)
			p := w.start("", append(append(args, tt.flags...), tt.source, login+":"+tt.target)...)
			code := p.wait()
			w.login("") // ends the handicap
			failsWith(t, p, code, tt.want)
			if d := cmp.Diff(before, everything(t, w)); d != "" {
				t.Errorf("changed:\n%s", d)
			}
		})
	}
}

func failsWith(t *testing.T, p *process, code int, want []string) {
	t.Helper()
	text := p.stderr.String()
	if code != exitFailed {
		t.Errorf("exit code %d, want %d: %s", code, exitFailed, text)
	}
	for _, word := range want {
		if !strings.Contains(text, word) {
			t.Errorf("error %q does not say %q", text, word)
		}
	}
}

func connectionScenario(t *testing.T, w world) {
	must(t, w, 1, "zfs create tank/c && zfs snapshot tank/c@s1")
	homes := strings.TrimSpace(must(t, w, 1, "mktemp -d"))
	defer func() { must(t, w, 1, "rm -rf "+homes) }()
	// Homes whose user knows no host, and a wrong key of the host; and a key that nobody authorized.
	must(t, w, 1, fmt.Sprintf(`mkdir -p %[1]s/unknown/.ssh %[1]s/changed/.ssh &&
		ssh-keygen -q -t ed25519 -N '' -f %[1]s/wrong &&
		awk '{print $1, "'"$(cut -d' ' -f1,2 %[1]s/wrong.pub)"'"}' %[2]s | sort -u > %[1]s/changed/.ssh/known_hosts`, homes, w.knownHosts()))
	key := []string{"-i", w.keyFile()}
	tests := []struct {
		name, env string
		flags     []string
		want      []string
	}{
		{"unknown host", "HOME=" + homes + "/unknown", key, []string{"SHA256:", "known_hosts"}},
		{"changed host key", "HOME=" + homes + "/changed", key, []string{"SHA256:", "known_hosts"}},
		{"wrong key", "", []string{"-i", homes + "/wrong"}, []string{"SHA256:"}},
		{"refused port", "", []string{"-p", "1"}, []string{":1", "refused"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := everything(t, w)
			args := append([]string{"replicate", "--yes", "--json"}, w.flags()...)
			p := w.start(tt.env, append(append(args, tt.flags...), "tank/c", w.login("")+":backup/c")...)
			failsWith(t, p, p.wait(), tt.want)
			if tt.name == "changed host key" && strings.Count(p.stderr.String(), "SHA256:") < 2 {
				t.Errorf("both fingerprints are wanted: %s", p.stderr.String())
			}
			if d := cmp.Diff(before, everything(t, w)); d != "" {
				t.Errorf("changed:\n%s", d)
			}
		})
	}
}
