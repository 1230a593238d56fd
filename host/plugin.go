package host

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/zferry/zferry/rpc"
)

// plugin is a plugin that has registered once, or that the host runs. It outlives its connections.
type plugin struct {
	name    string
	process Process // nil if somebody else runs it
	jobs    *jobTable

	mu     sync.Mutex // guards the fields below
	series int64      // 0 before its first registration
	offer  offer
	link   *link  // nil while it is away
	links  int    // connections so far
	secret digest // the reconnect secret; zero before the first registration of this host's life
	// before is what the last registration came with. It is good as long as the reply to that may have been lost.
	before digest
	inUse  bool // has registered in this host's life: what it offers is not for others
}

// recognises tells whether the reconnect secret is good.
func (p *plugin) recognises(secret string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := digestOf(secret)
	return p.secret != digest{} && d == p.secret || p.before != digest{} && d == p.before
}

// attach makes l the plugin's connection, and returns the one before and the new reconnect secret.
func (p *plugin) attach(l *link, r registration) (old *link, secret string) {
	secret = newSecret()
	p.mu.Lock()
	defer p.mu.Unlock()
	old, p.link = p.link, l
	p.links++
	l.number = p.links
	p.before = digest{}
	if r.Secret != "" {
		p.before = digestOf(string(r.Secret))
	}
	p.secret = digestOf(secret)
	p.inUse = true
	p.offer = r.offer
	return old, secret
}

// heard notes that the plugin has sent something on l after its registration: it has the new secret.
func (p *plugin) heard(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.link == l {
		p.before = digest{}
	}
}

// detach notes that l is lost. It tells whether l was still the plugin's connection.
func (p *plugin) detach(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.link != l {
		return false
	}
	p.link = nil
	return true
}

func (p *plugin) current() *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.link
}

// connection is how to reach the plugin, or the error that says why it cannot be.
func (p *plugin) connection() (*rpc.Conn, error) {
	if l := p.current(); l != nil && l.open.Load() {
		return l.conn, nil
	}
	return nil, p.away()
}

// away says why the plugin does not answer. Nothing was done, so that the caller may try again.
func (p *plugin) away() error {
	return rpc.Errorf(rpc.EAGAIN, "%s", p.whyAway())
}

func (p *plugin) whyAway() string {
	if p.process == nil {
		return fmt.Sprintf("the plugin %s is not connected", p.name)
	}
	status := p.process.Status()
	switch status.State {
	case PluginRunning:
		return fmt.Sprintf("the plugin %s has not connected yet, pid %d", p.name, status.PID)
	case PluginUnreachable:
		return status.Err.Error()
	case PluginDown:
		return fmt.Sprintf("the plugin %s is not running: %v; it is started again at %s",
			p.name, status.Err, status.RetryAt.UTC().Format(time.RFC3339))
	case PluginStarting:
		return fmt.Sprintf("the plugin %s is not running: it is being started", p.name)
	case PluginStopped:
	}
	return fmt.Sprintf("the plugin %s is not running: the host is not ready or ends", p.name)
}

// call calls a method of the plugin. A connection that is lost before the call was sent is like none; one that is lost
// afterwards leaves the outcome unknown.
func (p *plugin) call(ctx context.Context, method string, params, result any, opened ...*rpc.Input) error {
	conn, err := p.connection()
	if err != nil {
		return err
	}
	err = conn.Call(ctx, method, params, result, opened...)
	if errors.Is(err, rpc.ErrClosed) {
		return p.away()
	}
	return err
}

// await waits for the end of a job.
func (p *plugin) await(ctx context.Context, id int64) (*jobEntry, error) {
	return p.jobs.await(ctx, id, func() error { return p.ask(ctx, id) })
}

// ask has the plugin tell the state of a job that it has not told of yet, although it has answered a call with it.
func (p *plugin) ask(ctx context.Context, id int64) error {
	l := p.current()
	if l == nil {
		return errLater
	}
	e, err := l.fetch(ctx, id)
	if errors.Is(err, rpc.ErrClosed) || errors.Is(err, rpc.ErrOutcomeUnknown) {
		return errLater
	}
	if err != nil {
		return err
	}
	if e.ID != id {
		return rpc.Errorf(rpc.EFAULT, "the plugin %s was asked for job %d and told of %d", p.name, id, e.ID)
	}
	return p.jobs.accept(e, l.number)
}

// seek asks for a job that is not in the table, if the table may lack it.
func (p *plugin) seek(ctx context.Context, id int64) error {
	l := p.current()
	switch {
	case l != nil && !l.fetched.Load():
		if err := p.ask(ctx, id); !errors.Is(err, errLater) {
			return err
		}
		return p.away()
	case l == nil && !p.jobs.complete():
		return p.away()
	}
	return nil
}
