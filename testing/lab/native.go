package lab

import (
	"bufio"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// nativeScripts hold two systems on this machine's own OpenZFS.
//
//go:embed native
var nativeScripts embed.FS

// A name that one process of this machine can have at a time, however it ends: the pools' names are taken only once.
const nativeLock = "@zferry-lab-native"

// nativeWorks reports whether this machine can hold the lab itself: its kernel has OpenZFS, we may be root, the tools
// are there, and no pool of the user's has the name of one of ours.
func nativeWorks(ctx context.Context) bool {
	for _, program := range []string{"zfs", "zpool", "sshd", "ip", "unshare", "useradd", "tar", "sudo"} {
		if _, err := exec.LookPath(program); err != nil {
			return false
		}
	}
	if exec.CommandContext(ctx, "zfs", "version").Run() != nil {
		return false
	}
	if _, err := privileged("zfs"); err != nil {
		return false
	}
	for _, s := range specs() {
		out, err := exec.CommandContext(ctx, "zpool", "list", "-HvP", s.pool).Output()
		if err == nil && !strings.Contains(string(out), "/zferry-lab-"+s.name) {
			return false
		}
	}
	return true
}

// keeper is the process that holds both systems. It takes everything away when its input ends, and so also when this
// process is killed.
type keeper struct {
	cmd *exec.Cmd
	in  io.WriteCloser

	mu  sync.Mutex // one command at a time
	out *bufio.Reader
}

// ask sends one command, or none to hear how the start went.
func (k *keeper) ask(ctx context.Context, command string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	// Without its input the keeper gives up, and that ends the wait for its answer.
	stop := context.AfterFunc(ctx, func() { _ = k.in.Close() })
	defer stop()
	if command != "" {
		if _, err := io.WriteString(k.in, command+"\n"); err != nil {
			return cause(ctx, err)
		}
	}
	line, err := k.out.ReadString('\n')
	if err != nil {
		return cause(ctx, fmt.Errorf("the keeper of the lab has ended: %w", err))
	}
	if line = strings.TrimSpace(line); line != "ok" {
		return errors.New(strings.TrimPrefix(line, "error: "))
	}
	return nil
}

func (k *keeper) close() error {
	_ = k.in.Close()
	io.Copy(io.Discard, k.out) //nolint:errcheck // only its end counts
	return k.cmd.Wait()
}

// native is the hardware of a system on this machine.
type native struct {
	name    string
	keeper  *keeper
	control *control
}

func (n *native) save(ctx context.Context, tag string) error {
	n.control.drop()
	return n.keeper.ask(ctx, "save "+n.name+" "+tag)
}

func (n *native) load(ctx context.Context, tag string) error {
	n.control.drop()
	if err := n.keeper.ask(ctx, "load "+n.name+" "+tag); err != nil {
		return err
	}
	_, err := n.control.connect(ctx)
	return err
}

func (n *native) powerOff(context.Context) error { return ErrUnsupported }
func (n *native) start(context.Context) error    { return ErrUnsupported }

func (n *native) setLink(ctx context.Context, up bool) error {
	if up {
		return n.keeper.ask(ctx, "link up")
	}
	return n.keeper.ask(ctx, "link down")
}

// startNative is Start on this machine's own OpenZFS.
func startNative(ctx context.Context, o Options) (*Lab, error) {
	alone, err := lockNative(ctx, o.Progress)
	if err != nil {
		return nil, err
	}
	runs := filepath.Join(o.Dir, "run")
	if err := sweepRuns(runs); err != nil {
		return nil, errors.Join(err, alone.Close())
	}
	dir, lock, err := newRunFolder(runs)
	if err != nil {
		return nil, errors.Join(err, alone.Close())
	}
	l := &Lab{linkUp: true}
	var k *keeper
	l.close = sync.OnceValue(func() error {
		for _, m := range l.machines {
			if m != nil {
				m.hardware.(*native).control.drop()
			}
		}
		var err error
		if k != nil {
			err = k.close()
		}
		return errors.Join(err, lock.Close(), removeAll(dir), alone.Close())
	})
	if k, err = startKeeper(ctx, dir); err == nil {
		err = l.attachNative(ctx, dir, k)
	}
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func lockNative(ctx context.Context, progress io.Writer) (net.Listener, error) {
	for waited := false; ; waited = true {
		lock, err := net.Listen("unix", nativeLock)
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) {
			return lock, err
		}
		if !waited {
			fmt.Fprintln(progress, "lab: waiting for another process that uses the lab's pools")
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

func startKeeper(ctx context.Context, dir string) (*keeper, error) {
	if err := os.CopyFS(dir, nativeScripts); err != nil {
		return nil, err
	}
	if _, err := newIdentity(dir); err != nil {
		return nil, err
	}
	argv, err := privileged("unshare", "--mount", "sh", filepath.Join(dir, "native", "host.sh"), dir)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	k := &keeper{cmd: cmd, in: in, out: bufio.NewReader(out)}
	if err := k.ask(ctx, ""); err != nil {
		return k, fmt.Errorf("use this machine's own OpenZFS: %w", err)
	}
	return k, nil
}

// attachNative makes both systems usable from this process.
func (l *Lab) attachNative(ctx context.Context, dir string, k *keeper) error {
	id, err := readIdentity(dir)
	if err != nil {
		return err
	}
	l.keyFile = id.keyFile()
	for i, s := range specs() {
		forward := fmt.Sprintf("198.18.77.%d:22", s.index*4+2)
		c := &control{addr: forward, signer: id.signer, hostKey: id.hostKeys[i]}
		l.machines[i] = &Machine{spec: s, forward: forward, hostKey: id.hostKeys[i], hardware: &native{name: s.name, keeper: k, control: c}, shell: c}
	}
	return l.each(ctx, func(ctx context.Context, m *Machine) error {
		_, err := m.hardware.(*native).control.connect(ctx)
		return err
	})
}
