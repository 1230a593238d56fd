package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zferry/zferry/jobs"
	"github.com/zferry/zferry/keychain"
	"github.com/zferry/zferry/methods"
	"github.com/zferry/zferry/plugin/boundary"
	"github.com/zferry/zferry/rpc"
	"github.com/zferry/zferry/store"
	"github.com/zferry/zferry/tasks"
)

const (
	// orphanTime is how long a plugin without a host stays after its last job has ended (decisions 3).
	orphanTime  = 10 * time.Minute
	orphanCheck = time.Second

	exitAfterDrain = 200 * time.Millisecond

	// maxStep is the distance of job ids that a host may ask for: numbers stay exact in JavaScript for a billion jobs.
	maxStep = 1 << 20
)

// Config is how a Plugin works.
type Config struct {
	Dir     string // of its state; made if it is missing
	ZFS     string // program of this system; "" is zfs in PATH
	Version string
	Log     slog.Handler
	Level   *slog.LevelVar // what plugin.configure changes
	// Settings gives the host's URL and a registration token, anew for each try to register. nil: Configure does.
	Settings func() (boundary.Settings, error)
	Orphan   time.Duration // how long it stays without host and jobs; 0 is 10 minutes
}

// Plugin is the whole plugin: state, jobs, methods, and the link to a host. It implements boundary.Lifecycle.
type Plugin struct {
	version  string
	orphan   time.Duration
	level    *slog.LevelVar
	log      *slog.Logger
	store    *store.Store
	kept     *jobStore
	jobs     *jobs.Manager
	tasks    *tasks.Service
	registry *rpc.Registry
	runs     *methods.Replications
	calls    map[string]func(context.Context, *rpc.Conn, json.RawMessage) (any, error)
	outbox   *outbox
	link     *link
	draining atomic.Bool
	exit     func()        // closes quit
	quit     chan struct{} // closed when Run is to return

	mu          sync.Mutex // guards the fields below
	given       *boundary.Settings
	interrupted []jobs.Job // to be taken up once job ids are known; nil afterwards
}

// Open opens the state and settles what an earlier process left. The caller closes what is returned. Errors: those of
// package store.
func Open(ctx context.Context, cfg Config) (*Plugin, error) {
	out := newOutbox()
	p := &Plugin{version: cfg.Version, orphan: cfg.Orphan, level: cfg.Level, outbox: out, log: slog.New(logHandler{Handler: cfg.Log, outbox: out})}
	if p.orphan == 0 {
		p.orphan = orphanTime
	}
	if cfg.Settings != nil {
		// A token may come later; an address does not get better.
		if s, err := cfg.Settings(); err == nil {
			if err := checkURL(s.URL); err != nil {
				return nil, err
			}
		}
	}
	p.quit = make(chan struct{})
	p.exit = sync.OnceFunc(func() { close(p.quit) })
	var err error
	if p.store, err = store.Open(ctx, cfg.Dir); err != nil {
		return nil, err
	}
	if err := p.assemble(ctx, cfg); err != nil {
		return nil, errors.Join(err, p.store.Close())
	}
	return p, nil
}

// assemble puts the parts together.
func (p *Plugin) assemble(ctx context.Context, cfg Config) error {
	p.kept = &jobStore{store: p.store}
	var failed []jobs.Job
	var err error
	p.jobs, failed, err = jobs.Open(ctx, jobs.Config{
		Store: p.kept, LogDir: filepath.Join(cfg.Dir, "logs"), Publish: p.outbox.job, Explain: methods.Explain, Log: p.log,
	})
	if err != nil {
		return fmt.Errorf("jobs: %w", err)
	}
	for _, j := range failed {
		p.outbox.remember(j)
	}
	p.interrupted = p.jobs.Interrupted()

	chain := keychain.New(p.store)
	background := context.WithoutCancel(ctx)
	p.tasks, err = tasks.New(tasks.Config{
		Store: p.store, Keychain: chain, Dir: cfg.Dir, ZFS: cfg.ZFS, Log: p.log,
		Notify: func(c tasks.Change) { p.runs.Changed(background, c) },
	})
	if err == nil {
		err = p.tasks.Recover(ctx, "The run was interrupted: zferry ended before it did.")
	}
	if err != nil {
		p.jobs.Close()
		return fmt.Errorf("tasks: %w", err)
	}
	p.registry = new(rpc.Registry)
	methods.Keychain(p.registry, chain, p.tasks, p.outbox.event)
	p.runs = methods.Replication(p.registry, p.tasks, chain, p.jobs, p.outbox.event)
	p.calls = p.hostCalls()
	p.link = p.newLink(cfg)
	return nil
}

func (p *Plugin) newLink(cfg Config) *link {
	settings := cfg.Settings
	if settings == nil {
		settings = p.configured
	}
	return &link{
		settings: settings, handler: p.handle, registration: p.registration, registered: p.registered,
		outbox: p.outbox, log: p.log, times: usualTimes(), wake: make(chan struct{}, 1), alone: time.Now(),
	}
}

// configured is what Configure was given last.
func (p *Plugin) configured() (boundary.Settings, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.given == nil {
		return boundary.Settings{}, errNowhere
	}
	return *p.given, nil
}

func (p *Plugin) registration() map[string]any {
	offered, events := registrationOf(p.registry, methods.EventNames())
	self, err := boundary.Self()
	if err != nil {
		p.log.Error("the start time of this process is unknown", "err", err)
	}
	return map[string]any{
		"protocol": boundary.Protocol, "name": "zferry", "version": p.version, "pid": self.PID, "started": self.Started,
		"methods": offered, "events": events, "jobs": map[string]int64{"last": p.jobs.LastID()},
	}
}

// registered is told the ids of jobs. With the first host comes the time to take up what was interrupted.
func (p *Plugin) registered(ctx context.Context, first, step int64) error {
	if first > maxStep || step > maxStep {
		return fmt.Errorf("register with the host: job ids from %d by %d are too far apart", first, step)
	}
	if err := p.jobs.SetSeries(first, step); err != nil {
		return fmt.Errorf("register with the host: %w", err)
	}
	p.mu.Lock()
	interrupted := p.interrupted
	p.interrupted = nil
	p.mu.Unlock()
	for _, j := range interrupted {
		task, again, err := p.tasks.Again(ctx, j)
		if err == nil && again {
			p.log.Info("a run was interrupted, its task starts once more", "task", task, "job", j.ID)
			err = p.runs.Again(ctx, task)
		}
		if err != nil {
			p.log.Error("a task whose run was interrupted does not start by itself", "job", j.ID, "err", err)
		}
	}
	return nil
}

// Run keeps the link to the host until ctx ends, the plugin was drained to exit, or has been without host and jobs for too
// long.
func (p *Plugin) Run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { p.link.run(ctx) })
	wg.Go(func() {
		p.watch(ctx)
		cancel()
	})
	wg.Wait()
}

// watch returns when ctx ends or nobody needs this process any more.
func (p *Plugin) watch(ctx context.Context) {
	tick := time.NewTicker(min(orphanCheck, p.orphan))
	defer tick.Stop()
	idle := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.quit:
			return
		case <-tick.C:
		}
		if p.link.orphaned() == 0 || p.jobs.Running() > 0 {
			idle = time.Now()
		}
		if time.Since(idle) >= p.orphan {
			p.log.Info("there is no host and nothing to do: the plugin ends")
			return
		}
	}
}

// Close stops what still runs, so that it can be resumed, and closes the state.
func (p *Plugin) Close() error {
	p.exit()
	p.jobs.Close()
	return p.store.Close()
}

func jobMissing(id int64) string { return fmt.Sprintf("Job with id %d does not exist", id) }
