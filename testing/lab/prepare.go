package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	poolSize = "16G"
	// A guest that KVM really runs is up long before this.
	trialTime = 12 * time.Second
	// Counted up when the files of an identity change.
	identityVersion = 1
)

// prepared is everything a lab starts from.
type prepared struct {
	image *image
	accel string
	dir   string
	id    *identity
}

// prepareScript makes the pool and touches the programs that tests use, so that they are in the machine's memory.
const prepareScript = `set -e
zpool create -f -o ashift=12 %[1]s /dev/vdb
for s in a b; do zfs snapshot %[1]s@$s; done
zfs send -I @a %[1]s@b >/dev/null
zfs list -t all >/dev/null
zfs destroy %[1]s@a%%b
zfs get all %[1]s >/dev/null
ssh -V 2>/dev/null; sudo -V >/dev/null; tc qdisc show >/dev/null; sha256sum /bin/sh >/dev/null
ssh -o BatchMode=yes %[2]s true
sync`

// prepare returns what is needed to start a lab, and makes what is not in the cache.
func prepare(ctx context.Context, o Options) (*prepared, error) {
	if runtime.GOARCH != "amd64" {
		return nil, fmt.Errorf("the virtual machines are made on and for amd64, not %s", runtime.GOARCH)
	}
	if err := installMissing(ctx, o.Progress, needed()); err != nil {
		return nil, err
	}
	version, err := checkEmulator(ctx)
	if err != nil {
		return nil, err
	}
	if p, err := findPrepared(ctx, o, version); !errors.Is(err, fs.ErrNotExist) {
		return p, err
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := lockCache(ctx, o.Dir, o.Progress)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := sweepBuilds(o.Dir); err != nil {
		return nil, err
	}
	img, err := ensureImage(ctx, o, true)
	if err != nil {
		return nil, err
	}
	if p, err := findPrepared(ctx, o, version); !errors.Is(err, fs.ErrNotExist) {
		return p, err
	}
	return makePrepared(ctx, o, img, version)
}

func findPrepared(ctx context.Context, o Options, version string) (*prepared, error) {
	img, err := ensureImage(ctx, o, false)
	if err != nil {
		return nil, err
	}
	for _, accel := range []string{accelKVM, accelTCG} {
		dir := preparedDir(img, version, accel)
		if id, err := readIdentity(dir); err == nil {
			return &prepared{image: img, accel: accel, dir: dir, id: id}, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return nil, fs.ErrNotExist
}

// preparedDir names a saved state by all that makes it usable: the memory of a machine can be loaded only by the same
// emulator with the same devices.
func preparedDir(img *image, version, accel string) string {
	h := sha256.New()
	fmt.Fprintln(h, version, accel, identityVersion, poolSize, prepareScript)
	for _, s := range specs() {
		b := boot{spec: s, image: &image{}, accel: accel}
		fmt.Fprintln(h, b.args())
	}
	return img.file("ready-" + hex.EncodeToString(h.Sum(nil))[:16])
}

// makePrepared boots both machines for the first time and saves them.
func makePrepared(ctx context.Context, o Options, img *image, version string) (*prepared, error) {
	work, err := os.MkdirTemp(o.Dir, buildPrefix)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	ready := filepath.Join(work, "ready")
	if err := os.Mkdir(ready, 0o700); err != nil {
		return nil, err
	}
	id, err := newIdentity(ready)
	if err != nil {
		return nil, err
	}
	p := &prepared{image: img, dir: ready, id: id, accel: accelTCG}
	if kvmWorks(ctx, p, work) {
		p.accel = accelKVM
	}
	fmt.Fprintf(o.Progress, "lab: booting the machines for the first time (%s)\n", p.accel)
	began := time.Now()
	if err := p.firstBoot(ctx, work); err != nil {
		return nil, fmt.Errorf("first boot: %w", err)
	}
	fmt.Fprintf(o.Progress, "lab: machines prepared in %s\n", time.Since(began).Round(time.Second))
	final := preparedDir(img, version, p.accel)
	if err := os.Rename(ready, final); err != nil {
		return nil, err
	}
	p.dir, id.dir = final, final
	return p, nil
}

func (p *prepared) firstBoot(ctx context.Context, work string) error {
	run := filepath.Join(work, "run")
	if err := os.Mkdir(run, 0o700); err != nil {
		return err
	}
	if err := p.newDisks(ctx, run); err != nil {
		return err
	}
	pair, err := p.launchPair(ctx, run, nil, "", false)
	if err != nil {
		return err
	}
	defer pair.Close()
	err = pair.each(ctx, func(ctx context.Context, m *Machine) error {
		_, err := m.Run(ctx, fmt.Sprintf(prepareScript, m.pool, pair.other(m).name))
		return err
	})
	if err != nil {
		return err
	}
	if err := pair.Save(ctx, Ready); err != nil {
		return err
	}
	if err := pair.Close(); err != nil {
		return err
	}
	for _, disk := range p.disks() {
		if err := os.Rename(filepath.Join(run, disk), filepath.Join(p.dir, disk)); err != nil {
			return err
		}
	}
	return nil
}

// disks are the names of all disks of both machines.
func (p *prepared) disks() []string {
	var disks []string
	for _, s := range specs() {
		b := boot{spec: s}
		disks = append(disks, b.disk(), b.pooled())
	}
	return disks
}

// newDisks makes the disks of machines that never ran.
func (p *prepared) newDisks(ctx context.Context, dir string) error {
	for _, s := range specs() {
		b := boot{spec: s}
		base := []string{"create", "-q", "-f", "qcow2", "-F", "raw", "-b", p.image.file("base.img"), b.disk()}
		pool := []string{"create", "-q", "-f", "qcow2", b.pooled(), poolSize}
		for _, args := range [][]string{base, pool} {
			cmd := exec.CommandContext(ctx, "qemu-img", args...)
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("qemu-img: %w: %s", err, strings.TrimSpace(string(out)))
			}
		}
	}
	return nil
}

// copyDisks gives a run its own copies of the prepared disks.
func (p *prepared) copyDisks(dir string) error {
	var g errgroup.Group
	for _, disk := range p.disks() {
		g.Go(func() error { return copyFile(filepath.Join(dir, disk), filepath.Join(p.dir, disk)) })
	}
	return g.Wait()
}

// kvmWorks boots a machine with KVM and throws it away. That /dev/kvm is there proves little: inside other virtual
// machines it may stop at the first instructions of the kernel.
func kvmWorks(ctx context.Context, p *prepared, work string) bool {
	kvm, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	_ = kvm.Close()
	dir := filepath.Join(work, "trial")
	if os.Mkdir(dir, 0o700) != nil || p.newDisks(ctx, dir) != nil {
		return false
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(ctx, trialTime)
	defer cancel()
	s := specs()[0]
	b := &boot{spec: s, image: p.image, accel: accelKVM, dir: dir, seed: p.id.seed(s.name), scratch: true}
	serial, err := createSerial(b)
	if err != nil {
		return false
	}
	defer serial.Close()
	proc, err := launch(b)
	if err != nil {
		return false
	}
	defer proc.kill()
	v := &vm{boot: b, proc: proc, serial: serial}
	return v.waitUp(ctx, 0) == nil
}
