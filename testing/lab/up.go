package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Errors of machines that run on their own.
var (
	ErrRunning    = errors.New("the lab is up already")
	ErrNotRunning = errors.New("the lab is not up")
)

// Running describes machines that live on after the process that started them.
type Running struct {
	// Variant is the series of OpenZFS.
	Variant string `json:"variant"`
	// Accel is kvm, or tcg for an emulated processor.
	Accel string `json:"accel"`
	// Since is when they were started.
	Since time.Time `json:"since"`
	// SSHConfig is a file for ssh -F that knows nas1 and nas2.
	SSHConfig string           `json:"ssh_config"`
	Machines  []RunningMachine `json:"machines"`
}

// RunningMachine is one of them.
type RunningMachine struct {
	Name string `json:"name"`
	Pool string `json:"pool"`
	// Addr is its address for the other machine, Forward for this one.
	Addr    string `json:"addr"`
	Forward string `json:"forward"`
	// Alive is false if the machine has ended by itself.
	Alive bool `json:"-"`
}

const stateFile = "state.json"

func upFolder(o Options) string { return filepath.Join(o.Dir, "up") }

// Up starts two virtual machines that run until Down. There is one such pair per folder of Options; further ones are
// refused with ErrRunning.
func Up(ctx context.Context, o Options) (*Running, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	dir := upFolder(o)
	if len(emulators(dir)) > 0 {
		return nil, ErrRunning
	}
	p, err := prepare(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("start lab: %w", cause(ctx, err))
	}
	// A folder without machines is what remains after a restart of this computer.
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		return nil, err
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	r, err := p.up(ctx, o, dir, lock)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start lab: %w", cause(ctx, err)), os.RemoveAll(dir))
	}
	return r, nil
}

func (p *prepared) up(ctx context.Context, o Options, dir string, lock *os.File) (*Running, error) {
	if err := p.copyDisks(dir); err != nil {
		return nil, err
	}
	l, err := p.launchPair(ctx, dir, lock, Ready, true)
	if err != nil {
		return nil, err
	}
	r := &Running{Variant: o.Variant, Accel: p.accel, Since: time.Now(), SSHConfig: filepath.Join(dir, "ssh_config")}
	known := filepath.Join(dir, "known_hosts")
	config := ""
	for _, m := range l.machines {
		r.Machines = append(r.Machines, RunningMachine{Name: m.name, Pool: m.pool, Addr: m.addr, Forward: m.forward, Alive: true})
		config += sshConfig(m, l.keyFile, known)
	}
	state, err := json.MarshalIndent(r, "", "\t")
	if err == nil {
		err = errors.Join(
			os.WriteFile(known, []byte(l.KnownHosts()), 0o600),
			os.WriteFile(r.SSHConfig, []byte(config), 0o600),
			os.WriteFile(filepath.Join(dir, stateFile), state, 0o600),
		)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	for _, m := range l.machines {
		m.hardware.(*vm).letGo()
	}
	return r, nil
}

func sshConfig(m *Machine, key, known string) string {
	host, port, _ := strings.Cut(m.forward, ":")
	return fmt.Sprintf("Host %s\n\tHostName %s\n\tPort %s\n\tUser root\n\tIdentityFile %s\n\tIdentitiesOnly yes\n"+
		"\tUserKnownHostsFile %s\n\tStrictHostKeyChecking yes\n",
		m.name, host, port, strconv.Quote(key), strconv.Quote(known))
}

// Status describes the machines that Up started. Without any it returns ErrNotRunning.
func Status(o Options) (*Running, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	dir := upFolder(o)
	data, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, err
	}
	r := &Running{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	alive := emulators(dir)
	if len(alive) == 0 {
		return nil, ErrNotRunning
	}
	for i, m := range r.Machines {
		_, r.Machines[i].Alive = alive[m.Name]
	}
	return r, nil
}

// Down ends the machines that Up started and removes their files. Without any it returns ErrNotRunning.
func Down(ctx context.Context, o Options) error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	dir := upFolder(o)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return ErrNotRunning
	}
	for alive := emulators(dir); len(alive) > 0; alive = emulators(dir) {
		for _, pid := range alive {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("end process %d: %w", pid, err)
			}
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return os.RemoveAll(dir)
}

// emulators finds the processes of the machines that run in dir, by name. A process is known by its working folder and
// its arguments, which cannot be confused with those of a later process with the same number.
func emulators(dir string) map[string]int {
	found := map[string]int{}
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return found
	}
	for _, p := range procs {
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		if cwd, err := os.Readlink(filepath.Join("/proc", p.Name(), "cwd")); err != nil || cwd != dir {
			continue
		}
		cmdline, err := os.ReadFile(filepath.Join("/proc", p.Name(), "cmdline"))
		if err != nil {
			continue
		}
		for _, s := range specs() {
			if strings.Contains(string(cmdline), "\x00-name\x00zferry-"+s.name+"\x00") {
				found[s.name] = pid
			}
		}
	}
	return found
}
