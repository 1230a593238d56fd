package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/zferry/zferry/plugin/boundary"
)

const (
	// lookEvery is how often it is looked whether the process still runs. One that was found again is no child of ours,
	// so that nothing but a look tells; it costs some microseconds.
	lookEvery = 100 * time.Millisecond
	// lastWords is how long after the end of the process its pipes are read. Something else may hold them open.
	lastWords = time.Second
)

// pluginProcess is the process of a plugin, a child or one that was found again. A child is started by go-plugin, for
// which this is a runner.Runner.
type pluginProcess struct {
	cmd            *exec.Cmd     // nil when it was found again
	stdout, stderr io.ReadCloser // of a child; set by Start

	mu     sync.Mutex       // guards the fields below
	id     boundary.Process // set by Start, for a child
	killed bool             // by us; or never to be started

	read  chan struct{} // closed when go-plugin has read the pipes to the end
	left  chan struct{} // closed by leave
	leave func()        // lets go of the process without ending it
	ended chan struct{} // closed when the process has ended or was let go
	exit  error         // of a child; to be read when ended is closed
}

func newPluginProcess(cmd *exec.Cmd, id boundary.Process) *pluginProcess {
	left := make(chan struct{})
	return &pluginProcess{
		cmd:   cmd,
		id:    id,
		read:  make(chan struct{}),
		left:  left,
		leave: sync.OnceFunc(func() { close(left) }),
		ended: make(chan struct{}),
	}
}

// foundProcess is a process that another host has started.
func foundProcess(id boundary.Process) *pluginProcess {
	p := newPluginProcess(nil, id)
	go p.watch() // ends with the process, or after leave
	return p
}

// Start implements runner.Runner.
func (p *pluginProcess) Start(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.killed {
		return errors.New("given up before it was started")
	}
	var err error
	if p.stdout, err = p.cmd.StdoutPipe(); err != nil {
		return err
	}
	if p.stderr, err = p.cmd.StderrPipe(); err != nil {
		return err
	}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	p.id, err = boundary.FindProcess(p.cmd.Process.Pid)
	if err != nil {
		// It has ended already, which watch will see; or it cannot be looked at, and then it must not be at all.
		p.id = boundary.Process{PID: p.cmd.Process.Pid}
		_ = p.cmd.Process.Kill()
	}
	go p.watch() // ends with the process, or after leave
	return nil
}

// watch closes ended when the process has ended or was let go. A child that was let go stays a zombie from its own end to
// that of the host, which ends soon.
func (p *pluginProcess) watch() {
	defer close(p.ended)
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for id := p.identity(); id.Alive(); {
		select {
		case <-look.C:
		case <-p.left:
			p.letGo()
			return
		}
	}
	if p.cmd == nil {
		return
	}
	select {
	case <-p.read:
	case <-p.left:
	case <-time.After(lastWords):
	}
	p.exit = p.cmd.Wait() // closes the pipes
}

// letGo closes what this process has of a child that lives on. That also ends the goroutines of go-plugin that read the
// pipes.
func (p *pluginProcess) letGo() {
	if p.cmd == nil {
		return
	}
	_ = p.stdout.Close() // both were only read
	_ = p.stderr.Close()
	_ = p.cmd.Process.Release() // fails only if it was released or waited for
}

func (p *pluginProcess) identity() boundary.Process {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.id
}

// kill ends the process at once, or keeps it from being started.
func (p *pluginProcess) kill() {
	p.mu.Lock()
	id := p.id
	p.killed = p.killed || id.PID == 0 || id.Alive()
	p.mu.Unlock()
	if id.PID != 0 {
		_ = id.Signal(os.Kill) // whoever waits for its end sees whether it came
	}
}

// end asks the process to end, kills it when it has not after the given time, and then waits as long again at most: one
// that hangs in the kernel cannot be killed.
func (p *pluginProcess) end(grace time.Duration) error {
	id := p.identity()
	_ = id.Signal(syscall.SIGTERM) // as in kill
	if p.endedWithin(grace) {
		return nil
	}
	p.kill()
	if p.endedWithin(grace) {
		return nil
	}
	return fmt.Errorf("the plugin cannot be killed, pid %d", id.PID)
}

func (p *pluginProcess) endedWithin(d time.Duration) bool {
	timeout := time.NewTimer(d)
	defer timeout.Stop()
	select {
	case <-p.ended:
		return true
	case <-timeout.C:
		return false
	}
}

// wasKilled tells whether we have ended it, as far as its exit code tells. It is for when ended is closed.
func (p *pluginProcess) wasKilled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	exit, ok := errors.AsType[*exec.ExitError](p.exit)
	if !ok || !p.killed {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// Wait implements runner.Runner. go-plugin calls it when it has read the pipes to the end.
func (p *pluginProcess) Wait(context.Context) error {
	close(p.read)
	<-p.ended
	return p.exit
}

// Kill implements runner.Runner. go-plugin calls it when there was no handshake.
func (p *pluginProcess) Kill(context.Context) error {
	p.kill()
	return nil
}

// Stdout implements runner.Runner. The handshake comes here.
func (p *pluginProcess) Stdout() io.ReadCloser { return p.stdout }

// Stderr implements runner.Runner.
func (p *pluginProcess) Stderr() io.ReadCloser { return p.stderr }

// ID implements runner.Runner.
func (p *pluginProcess) ID() string { return strconv.Itoa(p.identity().PID) }

// Name implements runner.Runner.
func (p *pluginProcess) Name() string { return "plugin" }

// Diagnose implements runner.Runner.
func (p *pluginProcess) Diagnose(context.Context) string { return "" }

// PluginToHost implements runner.Runner. Both processes see the same files.
func (p *pluginProcess) PluginToHost(network, address string) (string, string, error) {
	return network, address, nil
}

// HostToPlugin implements runner.Runner.
func (p *pluginProcess) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}
