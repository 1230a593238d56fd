package lab

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRecipeHash(t *testing.T) {
	files := fstest.MapFS{"recipe/a": {Data: []byte("one")}, "recipe/b": {Data: []byte("two")}}
	hash := func(files fstest.MapFS, variant string) string {
		h, err := recipeHash(files, variant)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	first := hash(files, OpenZFS23)
	if again := hash(files, OpenZFS23); again != first || len(first) != 16 {
		t.Errorf("%q, then %q", first, again)
	}
	others := map[string]string{
		"variant": hash(files, OpenZFS21),
		"content": hash(fstest.MapFS{"recipe/a": {Data: []byte("one!")}, "recipe/b": {Data: []byte("two")}}, OpenZFS23),
		"border":  hash(fstest.MapFS{"recipe/a": {Data: []byte("onet")}, "recipe/b": {Data: []byte("wo")}}, OpenZFS23),
		"name":    hash(fstest.MapFS{"recipe/a": {Data: []byte("one")}, "recipe/c": {Data: []byte("two")}}, OpenZFS23),
	}
	for what, other := range others {
		if other == first {
			t.Errorf("another %s gives the same hash", what)
		}
	}
}

func TestParseMirror(t *testing.T) {
	tests := []struct{ name, targets, want string }{
		{"debian", "Debian|bookworm|main|http://m.example/debian/\nDebian|bookworm-security|main|http://s.example/debian-security/\n", "http://m.example/debian"},
		{"security first", "Debian|bookworm-security|main|http://s.example/debian-security/\nDebian|trixie|main|https://m.example/d/\n", "https://m.example/d"},
		{"other repositories", "HashiCorp|bookworm|main|https://apt.example/\nDocker|bookworm|stable|https://d.example/linux/debian/\nDebian|bookworm|main|http://m.example/debian/\n", "http://m.example/debian"},
		{"never updated", "|bookworm|main|https://apt.example/\n|bookworm|main|http://proxy.example/repository/debian-all/\n", "http://proxy.example/repository/debian-all"},
		{"placeholder kept", "$(ORIGIN)|stable|main|http://m.example/debian/\n", "http://m.example/debian"},
		{"known wins", "|bookworm|main|http://a.example/debian/\nDebian|bookworm|main|http://b.example/debian/\n", "http://b.example/debian"},
		{"disc", "Debian|bookworm|main|cdrom://[Debian]/\n", ""},
		{"ubuntu", "Ubuntu|noble|main|http://archive.example/ubuntu/\n", ""},
		{"nothing", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := parseMirror(tt.targets); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestParseTransfer(t *testing.T) {
	dump := `Acquire "";
Acquire::cdrom::mount "/media/cdrom/";
Acquire::http "";
Acquire::http::Proxy "http://proxy.example:3128";
Acquire::https::Verify-Peer "false";
Acquire::http::Proxy::intern.example "DIRECT";
Acquire::Retries "3";
`
	want := []string{
		`Acquire::http::Proxy "http://proxy.example:3128"`, `Acquire::https::Verify-Peer "false"`,
		`Acquire::http::Proxy::intern.example "DIRECT"`, `Acquire::Retries "3"`,
	}
	if diff := cmp.Diff(want, parseTransfer(dump)); diff != "" {
		t.Error(diff)
	}
}

func TestBootArguments(t *testing.T) {
	s := specs()
	b := boot{spec: s[1], image: &image{dir: "/cache/i"}, accel: accelTCG, dir: "/run", seed: "/cache/a,b.seed", load: Ready}
	args := strings.Join(b.args(), " ")
	for _, want := range []string{
		"-accel tcg,thread=multi", "-kernel /cache/i/vmlinuz", "file=nas2.qcow2", "file=nas2-pool.qcow2", "file=/cache/a,,b.seed",
		"server=off", "mac=52:54:00:77:01:02", "unix:nas2.monitor,", "-loadvm ready", "hostfwd=tcp:127.0.0.1:0-:22", "restrict=on",
	} {
		if !strings.Contains(args, want) {
			t.Errorf("no %q in %s", want, args)
		}
	}
	first := boot{spec: s[0], image: &image{}, accel: accelKVM, scratch: true}
	args = strings.Join(first.args(), " ")
	if !strings.Contains(args, "-accel kvm") || !strings.Contains(args, "server=on") || !strings.Contains(args, "-snapshot") || strings.Contains(args, "-loadvm") {
		t.Errorf("first boot with KVM: %s", args)
	}
}

func TestParseEmulator(t *testing.T) {
	tests := []struct{ out, want, fault string }{
		{"QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\nCopyright (c)\n", "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)", ""},
		{"QEMU emulator version 10.0.2\n", "QEMU emulator version 10.0.2", ""},
		{"QEMU emulator version 6.2.0\n", "", "QEMU 6.2 is too old"},
		{"what?", "", "unknown answer"},
	}
	for _, tt := range tests {
		got, err := parseEmulator(tt.out)
		if got != tt.want || (err == nil) != (tt.fault == "") || err != nil && !strings.Contains(err.Error(), tt.fault) {
			t.Errorf("%q: %q, %v", tt.out, got, err)
		}
	}
}

func TestParseForward(t *testing.T) {
	got, err := parseForward("Hub -1 (outside):\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\n" +
		"  TCP[ESTABLISHED]  14       127.0.0.1 35893       10.0.2.15    22     0     0\n" +
		"  TCP[HOST_FORWARD]  13       127.0.0.1 35893       10.0.2.15    22     0     0\n")
	if err != nil || got != "127.0.0.1:35893" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := parseForward("nothing"); err == nil {
		t.Error("no error without a forwarded port")
	}
}

func TestHasTag(t *testing.T) {
	table := "List of snapshots present on all disks:\nID        TAG               VM SIZE                DATE     VM CLOCK     ICOUNT\n" +
		"--        ready             182 MiB 2026-11-24 00:33:30 00:01:35.215           \n"
	for tag, want := range map[string]bool{"ready": true, "read": false, "TAG": false, "182": false} {
		if got := hasTag(table, tag); got != want {
			t.Errorf("%s: %v", tag, got)
		}
	}
}

func TestCheckTag(t *testing.T) {
	for tag, want := range map[string]bool{"ready": true, "a-1_b.c": true, "": false, "-a": false, "a b": false, "a\nquit": false} {
		if got := checkTag(tag) == nil; got != want {
			t.Errorf("%q: %v", tag, got)
		}
	}
}

func TestNetem(t *testing.T) {
	if got := netem(0, 0); !strings.Contains(got, "del dev eth1") {
		t.Error(got)
	}
	if got := netem(1500*time.Microsecond, 0.5); !strings.Contains(got, "delay 1500us loss 0.5%") {
		t.Error(got)
	}
}

func TestMilestone(t *testing.T) {
	for line, want := range map[string]string{
		"lab: making the disk image\n":       "making the disk image",
		"I: downloading packages with apt..": "downloading packages with apt..",
		"I: extracting archives...":          "extracting archives",
		"gcc -c zfs.c":                       "",
	} {
		if got, ok := milestone(line); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v", line, got, ok)
		}
	}
}

func TestIdentity(t *testing.T) {
	id, err := newIdentity(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range specs() {
		seed, err := os.ReadFile(id.seed(s.name))
		if err != nil {
			t.Fatal(err)
		}
		if len(seed)%512 != 0 {
			t.Errorf("%d bytes are no disk", len(seed))
		}
		files := map[string]string{}
		r := tar.NewReader(bytes.NewReader(seed))
		for h, err := r.Next(); !errors.Is(err, io.EOF); h, err = r.Next() {
			if err != nil {
				t.Fatal(err)
			}
			data, _ := io.ReadAll(r)
			files[h.Name] = string(data)
			if strings.Contains(h.Name, "id_ed25519") && h.Mode&0o044 != 0 && !strings.HasSuffix(h.Name, ".pub") {
				t.Errorf("%s has mode %o", h.Name, h.Mode)
			}
		}
		if !strings.HasPrefix(files["etc/lab.conf"], "LAB_NAME="+s.name+"\nLAB_ADDR="+s.addr+"\n") {
			t.Errorf("lab.conf: %q", files["etc/lab.conf"])
		}
		if n := strings.Count(files["home/rep/.ssh/authorized_keys"], "\n"); n != 2 {
			t.Errorf("rep has %d keys", n)
		}
		if n := strings.Count(files["root/.ssh/known_hosts"], "\n"); n != 4 {
			t.Errorf("root knows %d keys", n)
		}
	}
	if info, err := os.Stat(id.keyFile()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key: %v, %v", info, err)
	}
}

func TestSweepRuns(t *testing.T) {
	runs := filepath.Join(t.TempDir(), "run")
	live, lock, err := newRunFolder(runs)
	if err != nil {
		t.Fatal(err)
	}
	dead, gone, err := newRunFolder(runs)
	if err != nil {
		t.Fatal(err)
	}
	_ = gone.Close()
	fresh := filepath.Join(runs, "fresh")
	if err := os.Mkdir(fresh, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := sweepRuns(runs); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]bool{live: true, dead: false, fresh: true} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s: %v", dir, err)
		}
	}
	_ = lock.Close()
	if inUse(live) {
		t.Error("in use without its lock")
	}
}

func TestOptions(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", "/x/cache")
	o, err := Options{}.withDefaults()
	if err != nil || o.Dir != "/x/cache/zferry/lab" || o.Variant != OpenZFS23 || o.Progress == nil {
		t.Errorf("%+v, %v", o, err)
	}
	if _, err := (Options{Variant: "9"}).withDefaults(); err == nil {
		t.Error("variant 9 was taken")
	}
	if _, err := Status(Options{Dir: t.TempDir()}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("status: %v", err)
	}
	if err := Down(t.Context(), Options{Dir: filepath.Join(t.TempDir(), "none")}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("down: %v", err)
	}
}
