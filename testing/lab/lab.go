// Package lab starts two small machines with real OpenZFS, nas1 and nas2, with a network between them that can be
// delayed and cut. Their image is built once and cached; every start and every Load gives the same prepared state.
package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Ready is the tag of the state every lab starts in: empty pools, nobody logged in.
const Ready = "ready"

// Variants of the image that can be asked for, named by the series of OpenZFS.
const (
	OpenZFS23 = "2.3"
	OpenZFS21 = "2.1"
)

// ErrUnsupported is returned by PowerOff and Start where the systems share the kernel of this machine.
var ErrUnsupported = errors.New("only virtual machines can do this")

// Options of a lab. The zero value is useful.
type Options struct {
	// Progress is told line by line what is built or waited for. Nil means silence.
	Progress io.Writer
	// Dir holds the images and the files of running machines. Default: zferry/lab in the user's cache folder.
	Dir string
	// Variant is the series of OpenZFS, OpenZFS23 by default.
	Variant string
	// Virtual asks for virtual machines even where this machine has OpenZFS itself. Else its own version is used there,
	// whatever Variant says, with pools in files and two systems that share its kernel.
	Virtual bool
}

func (o Options) withDefaults() (Options, error) {
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	if o.Variant == "" {
		o.Variant = OpenZFS23
	}
	if o.Variant != OpenZFS23 && o.Variant != OpenZFS21 {
		return o, fmt.Errorf("lab: no image with OpenZFS %q: choose %s or %s", o.Variant, OpenZFS23, OpenZFS21)
	}
	if o.Dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return o, fmt.Errorf("lab: %w", err)
		}
		o.Dir = filepath.Join(cache, "zferry", "lab")
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return o, fmt.Errorf("lab: %w", err)
	}
	o.Dir = dir
	return o, nil
}

// A Lab is two running machines. Its methods may be called from several goroutines, but what happens to a command that
// runs during Save, Load or PowerOff is undefined.
type Lab struct {
	machines [2]*Machine
	virtual  bool
	keyFile  string
	close    func() error

	mu     sync.Mutex // guards linkUp
	linkUp bool
}

// Start gives two machines in the state Ready. They end with Close, and at the latest with this process. The first
// call on a machine installs what is missing and builds the image, which takes minutes.
func Start(ctx context.Context, o Options) (*Lab, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	l, err := start(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("start lab: %w", cause(ctx, err))
	}
	return l, nil
}

// cause is why ctx ended, if it did: what fails afterwards is only an echo.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// Close ends the machines and removes their files. It may be called twice.
func (l *Lab) Close() error { return l.close() }

// Machine returns nas1 or nas2. It panics on any other name.
func (l *Lab) Machine(name string) *Machine {
	for _, m := range l.machines {
		if m.name == name {
			return m
		}
	}
	panic("lab: no machine is named " + strconv.Quote(name))
}

// Virtual reports whether the machines are virtual ones, which can be powered off. Otherwise they share this machine's
// kernel, so that each sees both pools, and Save ends what runs on them.
func (l *Lab) Virtual() bool { return l.virtual }

// KeyFile is a private key on this machine that root, rep and repsudo of both machines accept.
func (l *Lab) KeyFile() string { return l.keyFile }

// KnownHosts returns the lines of a known_hosts file with which the Forward addresses can be reached from this machine.
func (l *Lab) KnownHosts() string {
	var lines string
	for _, m := range l.machines {
		lines += knownHostsLine(m.Forward(), m.hostKey)
	}
	return lines
}

// Save keeps the state of both machines, disks and memory, under a tag. Connections from this process are closed first.
func (l *Lab) Save(ctx context.Context, tag string) error {
	return l.each(ctx, func(ctx context.Context, m *Machine) error { return m.Save(ctx, tag) })
}

// Load puts both machines back into the state kept under tag. The link is up afterwards; a delay is what it was when
// the state was saved.
func (l *Lab) Load(ctx context.Context, tag string) error {
	l.mu.Lock()
	l.linkUp = true
	l.mu.Unlock()
	return l.each(ctx, func(ctx context.Context, m *Machine) error { return m.Load(ctx, tag) })
}

// SetLink plugs the cable between the machines in or pulls it out. Commands from this process still reach them.
func (l *Lab) SetLink(ctx context.Context, up bool) error {
	l.mu.Lock()
	l.linkUp = up
	l.mu.Unlock()
	return l.each(ctx, func(ctx context.Context, m *Machine) error { return m.hardware.setLink(ctx, up) })
}

// Delay holds back every packet between the machines by d in each direction and loses some of them. Zeros lift it.
func (l *Lab) Delay(ctx context.Context, d time.Duration, lossPercent float64) error {
	script := netem(d, lossPercent)
	return l.each(ctx, func(ctx context.Context, m *Machine) error {
		_, err := m.Run(ctx, script)
		return err
	})
}

func netem(d time.Duration, lossPercent float64) string {
	if d == 0 && lossPercent == 0 {
		return "tc qdisc del dev eth1 root 2>/dev/null; true"
	}
	// The queue must hold what a fast link has under way for the length of the delay.
	return fmt.Sprintf("tc qdisc replace dev eth1 root netem limit 100000 delay %dus loss %g%%", d.Microseconds(), lossPercent)
}

func (l *Lab) linkWanted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.linkUp
}

// other returns the machine at the far end of the link.
func (l *Lab) other(m *Machine) *Machine {
	if l.machines[0] == m {
		return l.machines[1]
	}
	return l.machines[0]
}

// each calls f for both machines at the same time. An error of one does not interrupt the other, which would leave its
// monitor unusable.
func (l *Lab) each(ctx context.Context, f func(context.Context, *Machine) error) error {
	var g errgroup.Group
	for _, m := range l.machines {
		g.Go(func() error { return f(ctx, m) })
	}
	return g.Wait()
}
