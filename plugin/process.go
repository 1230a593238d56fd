package plugin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"golang.org/x/sys/unix"

	"github.com/zferry/zferry/plugin/boundary"
)

// ErrNotLaunched means that no host has started this process.
var ErrNotLaunched = errors.New("this is a plugin: start it with 'zferry serve', or beside another host with 'zferry-plugin attach'")

// ExitCode is what a process exits with after the error: 3 if another one holds the data folder, 2 if it was started in
// a way that it is not meant to be, 1 after any other error.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	if _, ok := errors.AsType[*boundary.HeldError](err); ok {
		return 3
	}
	if _, ok := errors.AsType[usageError](err); ok || errors.Is(err, ErrNotLaunched) {
		return 2
	}
	return 1
}

// usageError is a wrong command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// configureTime is how long a launched plugin waits for its first Configure. A host that dies before it has made a note
// of the plugin will never find it again, and the plugin holds the data folder. Most often that is seen sooner: by the pipe
// that nobody reads any more.
const (
	configureTime = time.Minute
	readerLook    = 100 * time.Millisecond
)

// Process is this process as the one that works in a data folder.
type Process struct {
	dir   string
	lock  *boundary.Lock
	level slog.LevelVar

	// Standard output and error as they were at the start. go-plugin puts pipes into os.Stdout and os.Stderr; these
	// must not be collected meanwhile, because that would close descriptors 1 and 2 and let other files have them.
	stdout, stderr *os.File

	output        sync.Mutex // held while the output changes over
	configureTime time.Duration
}

// OpenProcess makes the folder if it is missing and holds it until Close or the end of the process. If another process
// holds it, the error is a *boundary.HeldError.
func OpenProcess(dir string) (*Process, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := boundary.TakeLock(dir)
	if err != nil {
		return nil, err
	}
	return &Process{dir: dir, lock: lock, stdout: os.Stdout, stderr: os.Stderr, configureTime: configureTime}, nil
}

// Close lets another process hold the folder.
func (p *Process) Close() error { return p.lock.Close() }

// errHostGone means that the host has died between the launch and the first Configure.
var errHostGone = errors.New("the host that has launched this plugin is gone, and has not configured it")

// watchReader cancels when nobody reads the pipe any more into which go-plugin wrote the handshake, unless the plugin is configured
// before. It says nothing of a standard output that is no pipe.
func (p *Process) watchReader(ctx context.Context, cancel context.CancelCauseFunc, configured <-chan struct{}) {
	tick := time.NewTicker(readerLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-configured:
			return
		case <-tick.C:
		}
		if p.unread() {
			cancel(errHostGone)
			return
		}
	}
}

// unread tells whether standard output is a pipe without a reader.
func (p *Process) unread() bool {
	p.output.Lock()
	defer p.output.Unlock()
	fds := []unix.PollFd{{Fd: int32(p.stdout.Fd())}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&unix.POLLERR != 0
}

// Level is the level from which on LogHandler writes. Configure sets it; at first it is INFO.
func (p *Process) Level() *slog.LevelVar { return &p.level }

// LogHandler writes to standard error, in the format that a host with go-plugin understands: into the host's pipe at
// first, and into the log file of the data folder from the first Configure on.
func (p *Process) LogHandler() slog.Handler { return newLogHandler(p.stderr, &p.level) }

// Serve prints go-plugin's handshake and serves the lifecycle to the host that has launched this process, and to every
// host that finds it later. It returns nil when a host has ended it, or after the context has ended, and then the
// process must end: a host may wait for no more than two seconds. It can be called once in the life of a process.
func (p *Process) Serve(ctx context.Context, l boundary.Lifecycle) error {
	handshake := boundary.Handshake()
	// go-plugin would exit by itself, with a text that does not say what to do.
	if os.Getenv(handshake.MagicCookieKey) != handshake.MagicCookieValue {
		return ErrNotLaunched
	}
	config, err := boundary.PluginTLS(p.dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var watch sync.WaitGroup
	defer func() {
		cancel(nil)
		watch.Wait()
	}()
	unconfigured := fmt.Errorf("no host has configured this plugin within %v", p.configureTime)
	waiting := time.AfterFunc(p.configureTime, func() { cancel(unconfigured) })
	defer waiting.Stop()
	configured := make(chan struct{})
	watch.Go(func() { p.watchReader(ctx, cancel, configured) })

	var grpcServer stopper
	defer context.AfterFunc(ctx, grpcServer.stop)()
	defer p.restoreOutput()
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig: handshake,
		TLSProvider:     func() (*tls.Config, error) { return config, nil },
		Plugins: boundary.Plugins(&launched{Lifecycle: l, process: p, configured: sync.OnceFunc(func() {
			waiting.Stop()
			close(configured)
		})}),
		GRPCServer: grpcServer.make,
		Logger:     hclog.New(&hclog.LoggerOptions{Output: p.stderr, JSONFormat: true, Level: hclog.Warn}),
	})
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, unconfigured), errors.Is(cause, errHostGone):
		return cause
	case !grpcServer.made():
		return errors.New("serve go-plugin: the line before says why")
	}
	return nil
}
