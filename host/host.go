package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/zferry/zferry/host/state"
	"github.com/zferry/zferry/rpc"
)

// Host is the embedded middleware.
type Host struct {
	config    Config
	limits    limits
	log       *slog.Logger
	store     *state.Store
	work      *work
	hub       *hub
	methods   rpc.Registry // the host's own
	plugins   *plugins
	processes map[string]Process
	own       *ownJobs
	history   *history
	tokens    tokens
	downloads downloads
	servers   []server
	addresses Addresses
}

// New opens the host's state and its listeners. Nobody is answered before Run, which must be called unless New fails.
func New(ctx context.Context, c Config) (*Host, error) {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("folder of the host: %w", err)
	}
	c.Dir = dir
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	h := &Host{config: c, limits: c.limits.withDefaults(), log: c.Log, work: newWork(), hub: newHub()}
	h.tokens.file = c.TokenFile
	if h.store, err = state.Open(ctx, c.Dir); err != nil {
		return nil, err
	}
	if err := h.prepare(ctx); err != nil {
		return nil, errors.Join(err, h.store.Close())
	}
	return h, nil
}

func (h *Host) prepare(ctx context.Context) error {
	h.addresses.KeyFile = h.store.KeyFile()
	h.processes = make(map[string]Process)
	for _, s := range h.config.Plugins {
		process, err := s.Start(h.credentials)
		if err != nil {
			return fmt.Errorf("plugin %s: %w", s.Name, err)
		}
		h.processes[s.Name] = process
	}
	var err error
	h.history = newHistory(h.store, h.log)
	if h.plugins, err = openPlugins(ctx, h.history, h.processes, h.hub.publishJob); err != nil {
		return err
	}
	if h.own, err = newOwnJobs(ctx, h.history, h.work, h.hub.publishJob); err != nil {
		return err
	}
	h.register(&h.methods)
	if err := h.tokens.fill(); err != nil {
		return err
	}
	return h.listen(ctx)
}

// register registers all methods of the host's own.
func (h *Host) register(r *rpc.Registry) {
	h.registerCore(r)
	h.registerCalls(r)
	h.registerAuth(r)
}

// Methods registers the host's own methods for a description of them. They cannot be called.
func Methods(r *rpc.Registry) { new(Host).register(r) }

func (h *Host) pluginSocket() string { return filepath.Join(h.config.Dir, "plugin.sock") }

// credentials is how a plugin that the host runs reaches it.
func (h *Host) credentials() (url, token, caPEM string) {
	return "unix://" + h.pluginSocket(), h.NewToken(), ""
}

// NewToken makes a registration token, good for one registration. Of those that nobody has used only the newest are good.
func (h *Host) NewToken() string { return h.tokens.issue() }

// Addresses are where the host can be reached.
func (h *Host) Addresses() Addresses { return h.addresses }

// Run serves until ctx ends. With the cause ErrLeavePlugin plugins are left to themselves and work on; otherwise those that
// the host runs are ended first, while clients are still told what becomes of their jobs. It can be called once.
func (h *Host) Run(ctx context.Context) error {
	serving := make(chan error, len(h.servers))
	for _, s := range h.servers {
		h.work.start(ctx, func(context.Context) {
			if err := s.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
				serving <- fmt.Errorf("serve %s: %w", s.listener.Addr(), err)
			}
		})
	}
	h.work.start(ctx, h.history.run)
	running, end := context.WithCancelCause(ctx)
	defer end(nil)
	processes := h.runProcesses(running)
	if h.config.Ready != nil {
		h.work.start(ctx, func(ctx context.Context) {
			h.settle(ctx)
			if ctx.Err() == nil {
				h.config.Ready(h.addresses)
			}
		})
	}
	var err error
	select {
	case <-ctx.Done():
		h.log.Info("going away", "plugins_stay", errors.Is(context.Cause(ctx), ErrLeavePlugin))
	case err = <-serving:
		end(ErrLeavePlugin) // the next host may serve better
	}
	err = errors.Join(err, processes())
	h.closeListeners(ctx)
	h.work.end()
	h.history.flush(context.WithoutCancel(ctx))
	return errors.Join(err, h.store.Close())
}

// runProcesses runs the plugins' processes. What it returns waits for their end.
func (h *Host) runProcesses(ctx context.Context) (wait func() error) {
	var running sync.WaitGroup
	var mu sync.Mutex // guards fault
	var fault error
	for name, process := range h.processes {
		running.Go(func() {
			if err := process.Run(ctx); err != nil {
				mu.Lock()
				defer mu.Unlock()
				fault = errors.Join(fault, fmt.Errorf("plugin %s: %w", name, err))
			}
		})
	}
	return func() error {
		running.Wait()
		return fault
	}
}

// closeListeners lets nobody in any more. Connections that are WebSockets already are ended by work.
func (h *Host) closeListeners(ctx context.Context) {
	for _, s := range h.servers {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		if err := s.Shutdown(ctx); err != nil {
			_ = s.Close() // cuts off downloads that go on
		}
		cancel()
		_ = s.listener.Close() // closed already if it was served
	}
}
