package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/crypto/ssh"
)

// A Machine is one of the two systems of a lab. It has a pool, empty in the state Ready, and the users root, rep (no
// rights, sudo asks for a password) and repsudo (may run zfs through sudo). Each root can log in at the other machine.
type Machine struct {
	spec
	forward  string
	hostKey  ssh.PublicKey
	hardware hardware
	shell    shell
}

// hardware is what can be done to a machine from outside.
type hardware interface {
	save(ctx context.Context, tag string) error
	load(ctx context.Context, tag string) error
	powerOff(ctx context.Context) error
	start(ctx context.Context) error
	setLink(ctx context.Context, up bool) error
}

// shell runs scripts with sh as root.
type shell interface {
	run(ctx context.Context, script string, stdin io.Reader, stdout, stderr io.Writer) error
}

// spec is what is fixed about a machine.
type spec struct {
	name  string
	pool  string
	addr  string
	addr6 string
	port  int
	index int
}

func specs() [2]spec {
	return [2]spec{
		{name: "nas1", pool: "tank", addr: "10.77.0.1", addr6: "fd00:77::1", port: 22, index: 1},
		{name: "nas2", pool: "backup", addr: "10.77.0.2", addr6: "fd00:77::2", port: 22, index: 2},
	}
}

// ExitError is a script that ended with something else than success.
type ExitError struct {
	Machine string
	// Code is the exit status, or -1 if a signal ended the script.
	Code   int
	Stderr string
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("%s: exit status %d: %s", e.Machine, e.Code, strings.TrimSpace(e.Stderr))
}

// ExitCode returns Code.
func (e *ExitError) ExitCode() int { return e.Code }

// Name is nas1 or nas2.
func (m *Machine) Name() string { return m.name }

// Pool is tank on nas1 and backup on nas2.
func (m *Machine) Pool() string { return m.pool }

// Addr is the machine's address on the link; the machines also know each other by name.
func (m *Machine) Addr() string { return m.addr }

// Port is where its sshd listens at Addr.
func (m *Machine) Port() int { return m.port }

// Forward is where its sshd is reached from this process, as host:port.
func (m *Machine) Forward() string { return m.forward }

// HostKey is the Ed25519 host key of its sshd.
func (m *Machine) HostKey() ssh.PublicKey { return m.hostKey }

// Run runs a script with sh as root and returns what it wrote to standard output, also when it failed. The error is an
// *ExitError if the script ran. If ctx ends, the script is killed.
func (m *Machine) Run(ctx context.Context, script string) (string, error) {
	var stdout bytes.Buffer
	err := m.RunIn(ctx, script, nil, &stdout, nil)
	return stdout.String(), err
}

// RunIn is Run with streams; nil means no input and, for output, that nobody sees it. An *ExitError holds the end of
// standard error in any case.
func (m *Machine) RunIn(ctx context.Context, script string, stdin io.Reader, stdout, stderr io.Writer) error {
	tail := &tailBuffer{max: 64 << 10}
	errs := io.Writer(tail)
	if stderr != nil {
		errs = io.MultiWriter(stderr, tail)
	}
	if stdout == nil {
		stdout = io.Discard
	}
	err := m.shell.run(ctx, script, stdin, stdout, errs)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", m.name, context.Cause(ctx))
	}
	if code, ok := exitCode(err); ok {
		return &ExitError{Machine: m.name, Code: code, Stderr: tail.String()}
	}
	return fmt.Errorf("%s: %w", m.name, err)
}

// Copy puts a local file on the machine, replacing what was there at once and surviving a power loss.
func (m *Machine) Copy(ctx context.Context, local, remote string, mode fs.FileMode) error {
	f, err := os.Open(local)
	if err != nil {
		return err
	}
	defer f.Close()
	target, part := quote(remote), quote(remote+".part")
	script := fmt.Sprintf("mkdir -p %s && cat >%s && chmod %o %s && mv -f %s %s && sync %s %s",
		quote(path.Dir(remote)), part, mode.Perm(), part, part, target, target, quote(path.Dir(remote)))
	return m.RunIn(ctx, script, f, nil, nil)
}

// Save keeps the state of this machine alone. Connections between the machines that are open do not survive a Load.
func (m *Machine) Save(ctx context.Context, tag string) error {
	if err := checkTag(tag); err != nil {
		return err
	}
	if err := m.hardware.save(ctx, tag); err != nil {
		return fmt.Errorf("save %s as %s: %w", m.name, tag, err)
	}
	return nil
}

// Load puts this machine back into a saved state, sets its clock and turns it on if it was off.
func (m *Machine) Load(ctx context.Context, tag string) error {
	if err := checkTag(tag); err != nil {
		return err
	}
	if err := m.hardware.load(ctx, tag); err != nil {
		return fmt.Errorf("load %s of %s: %w", tag, m.name, err)
	}
	return nil
}

// PowerOff is like pulling the plug: memory is lost, and the other machine sees only silence.
func (m *Machine) PowerOff(ctx context.Context) error {
	if err := m.hardware.powerOff(ctx); err != nil {
		return fmt.Errorf("power off %s: %w", m.name, err)
	}
	return nil
}

// Start boots a machine that was powered off from its disk as it is now, imports its pool and returns when it answers.
func (m *Machine) Start(ctx context.Context) error {
	if err := m.hardware.start(ctx); err != nil {
		return fmt.Errorf("start %s: %w", m.name, err)
	}
	return nil
}

func checkTag(tag string) error {
	ok := tag != "" && strings.Trim(tag, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == ""
	if !ok || tag[0] == '-' {
		return fmt.Errorf("%q cannot name a saved state: use letters, digits, dots, dashes and underscores", tag)
	}
	return nil
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// tailBuffer keeps the last max bytes written to it.
type tailBuffer struct {
	max  int
	data []byte
}

func (b *tailBuffer) Write(p []byte) (int, error) {
	b.data = append(b.data, p...)
	if over := len(b.data) - b.max; over > 0 {
		b.data = append(b.data[:0], b.data[over:]...)
	}
	return len(p), nil
}

func (b *tailBuffer) String() string { return string(b.data) }
