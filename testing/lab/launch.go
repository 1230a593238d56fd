package lab

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// start prepares and starts both machines.
func start(ctx context.Context, o Options) (*Lab, error) {
	if !o.Virtual && nativeWorks(ctx) {
		return startNative(ctx, o)
	}
	p, err := prepare(ctx, o)
	if err != nil {
		return nil, err
	}
	runs := filepath.Join(o.Dir, "run")
	if err := sweepRuns(runs); err != nil {
		return nil, err
	}
	dir, lock, err := newRunFolder(runs)
	if err != nil {
		return nil, err
	}
	// Everything in the folder is open by the time both machines run. Without names the files cannot be left behind.
	defer os.RemoveAll(dir)
	defer lock.Close()
	if err := p.copyDisks(dir); err != nil {
		return nil, err
	}
	return p.launchPair(ctx, dir, lock, Ready, false)
}

// launchPair starts both machines in dir and returns when they answer. A tag to load may be empty.
func (p *prepared) launchPair(ctx context.Context, dir string, lock *os.File, load string, outlive bool) (*Lab, error) {
	l := &Lab{virtual: true, linkUp: true, keyFile: p.id.keyFile()}
	var vms [2]*vm
	l.close = sync.OnceValue(func() error {
		for _, v := range vms {
			if v != nil {
				v.close()
			}
		}
		return nil
	})
	g, gctx := errgroup.WithContext(ctx)
	for i, s := range specs() {
		g.Go(func() error {
			b := &boot{
				spec: s, image: p.image, accel: p.accel, dir: dir, seed: p.id.seed(s.name),
				load: load, outlive: outlive, lock: lock,
			}
			v, err := p.launchOne(gctx, b, i, l)
			vms[i] = v
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

// launchOne starts machine number i of l. The machine it returns with an error must be closed too, if there is one.
func (p *prepared) launchOne(ctx context.Context, b *boot, i int, l *Lab) (*vm, error) {
	if b.index == 2 {
		// The first machine listens at the cable, the second plugs itself in.
		if err := waitFile(ctx, filepath.Join(b.dir, linkSocket)); err != nil {
			return nil, err
		}
	}
	serial, err := createSerial(b)
	if err != nil {
		return nil, err
	}
	proc, err := launch(b)
	if err != nil {
		_ = serial.Close()
		return nil, err
	}
	ctx, release := proc.guard(ctx)
	defer release()
	v := &vm{boot: b, proc: proc, serial: serial, linkWanted: l.linkWanted, control: &control{ended: proc.ended}}
	if v.monitor, err = dialMonitor(ctx, b.dir, b.monitor()); err != nil {
		return v, err
	}
	if b.load == "" {
		if err := v.waitUp(ctx, 0); err != nil {
			return v, err
		}
	}
	return v, p.attach(ctx, v, i, l)
}

// attach makes the machine usable from this process.
func (p *prepared) attach(ctx context.Context, v *vm, i int, l *Lab) error {
	forward, err := v.monitor.forwardPort(ctx)
	if err != nil {
		return err
	}
	v.control.addr, v.control.signer, v.control.hostKey = forward, p.id.signer, p.id.hostKeys[i]
	l.machines[i] = &Machine{spec: v.boot.spec, forward: forward, hostKey: p.id.hostKeys[i], hardware: v, shell: v.control}
	return v.setClock(ctx)
}

func createSerial(b *boot) (*os.File, error) {
	return os.OpenFile(b.serial(), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
}

func waitFile(ctx context.Context, name string) error {
	for {
		_, err := os.Stat(name)
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
}
