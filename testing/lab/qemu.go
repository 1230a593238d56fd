package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

const emulator = "qemu-system-x86_64"

// Accelerators.
const (
	accelKVM = "kvm"
	accelTCG = "tcg"
)

// boot says how one virtual machine is started. Paths of sockets and disks are relative to dir: the name of a Unix
// socket may have only 107 bytes.
type boot struct {
	spec
	image *image
	accel string
	dir   string
	seed  string
	// load is the tag of the state to go on from; empty boots.
	load string
	// scratch throws away what is written to the disks.
	scratch bool
	// outlive lets the machine live on after this process.
	outlive bool
	// lock stays open in the machine, so that its folder counts as used.
	lock *os.File
}

const linkSocket = "link"

func (b *boot) disk() string    { return b.name + ".qcow2" }
func (b *boot) pooled() string  { return b.name + "-pool.qcow2" }
func (b *boot) monitor() string { return b.name + ".monitor" }
func (b *boot) serial() string  { return filepath.Join(b.dir, b.name+".serial") }

func (b *boot) args() []string {
	accel, cpu := "tcg,thread=multi", "max"
	if b.accel == accelKVM {
		accel = "kvm"
	}
	link := "stream,id=link,addr.type=unix,addr.path=" + linkSocket + ",server="
	if b.index == 1 {
		link += "on"
	} else {
		link += "off"
	}
	args := []string{
		"-name", "zferry-" + b.name,
		"-machine", "q35", "-accel", accel, "-cpu", cpu, "-smp", "1", "-m", "3G",
		"-nodefaults", "-no-user-config", "-display", "none",
		"-kernel", b.image.file("vmlinuz"), "-initrd", b.image.file("initrd"),
		"-append", "console=ttyS0 quiet net.ifnames=0 mitigations=off nokaslr random.trust_cpu=on panic=0",
		"-drive", "if=virtio,cache=unsafe,file=" + b.disk(),
		"-drive", "if=virtio,cache=unsafe,discard=unmap,file=" + b.pooled(),
		"-drive", "if=virtio,format=raw,readonly=on,file=" + strings.ReplaceAll(b.seed, ",", ",,"),
		"-device", "virtio-rng-pci",
		"-netdev", "user,id=outside,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:0-:22",
		"-device", "virtio-net-pci,romfile=,netdev=outside,mac=52:54:00:77:00:0" + strconv.Itoa(b.index),
		"-netdev", link,
		"-device", "virtio-net-pci,romfile=,id=data,netdev=link,mac=52:54:00:77:01:0" + strconv.Itoa(b.index),
		"-chardev", "file,id=serial,append=on,path=" + b.name + ".serial", "-serial", "chardev:serial",
		"-qmp", "unix:" + b.monitor() + ",server=on,wait=off",
	}
	if b.load != "" {
		args = append(args, "-loadvm", b.load)
	}
	if b.scratch {
		args = append(args, "-snapshot")
	}
	return args
}

// process is a running emulator.
type process struct {
	pid   int
	ended chan struct{}
	err   error // set before ended is closed
	words *tailBuffer
}

// launch starts the emulator. Unless it may outlive this process, the kernel kills it when this process ends in
// whatever way.
func launch(b *boot) (*process, error) {
	cmd := exec.Command(emulator, b.args()...)
	cmd.Dir = b.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	p := &process{ended: make(chan struct{}), words: &tailBuffer{max: 4096}}
	if b.lock != nil {
		cmd.ExtraFiles = []*os.File{b.lock}
	}
	if b.outlive {
		log, err := os.OpenFile(filepath.Join(b.dir, b.name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return nil, err
		}
		defer log.Close()
		cmd.Stdout, cmd.Stderr = log, log
	} else {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
		cmd.Stdout, cmd.Stderr = p.words, p.words
	}
	started := make(chan error)
	// Ends with the emulator. The kernel sends the signal above when the thread that started the child ends, so
	// the thread is kept for as long as the child lives.
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", emulator, err)
	}
	return p, nil
}

// kill ends the emulator and waits for its end.
func (p *process) kill() {
	select {
	case <-p.ended:
	default:
		syscall.Kill(p.pid, syscall.SIGKILL) //nolint:errcheck // it may have ended in this moment
		<-p.ended
	}
}

// guard returns a context that ends when the emulator does, with its last words as the cause.
func (p *process) guard(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := make(chan struct{})
	// Ends with the emulator or when the caller calls the returned function.
	go func() {
		select {
		case <-p.ended:
			cancel(fmt.Errorf("%s ended: %v: %s", emulator, p.err, strings.TrimSpace(p.words.String())))
		case <-stop:
		}
	}()
	return ctx, func() { close(stop); cancel(nil) }
}

var emulatorVersion = regexp.MustCompile(`version (\d+)\.(\d+)\S*`)

// checkEmulator returns the version of QEMU, which must know a network over Unix sockets.
func checkEmulator(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, emulator, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", emulator, err)
	}
	return parseEmulator(string(out))
}

func parseEmulator(out string) (string, error) {
	found := emulatorVersion.FindStringSubmatch(out)
	if found == nil {
		return "", errors.New("unknown answer of " + emulator + " --version: " + out)
	}
	major, _ := strconv.Atoi(found[1])
	minor, _ := strconv.Atoi(found[2])
	if major < 7 || major == 7 && minor < 2 {
		return "", fmt.Errorf("QEMU %s.%s is too old: the lab needs 7.2 or newer", found[1], found[2])
	}
	line, _, _ := strings.Cut(out, "\n")
	return line, nil
}

// dialUnix connects to a socket in dir whatever the length of dir's name.
func dialUnix(ctx context.Context, dir, socket string) (net.Conn, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return (&net.Dialer{}).DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), socket))
}
