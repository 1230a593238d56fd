package host

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/zferry/zferry/host/state"
	"github.com/zferry/zferry/rpc"
)

// plugins is who offers what.
type plugins struct {
	store   *state.Store
	history *history
	publish func(jobChange)

	registering sync.Mutex // held during a registration, so that two cannot take the same names

	mu      sync.RWMutex // guards the fields below
	all     map[string]*plugin
	methods map[string]route
	events  map[string]offeredEvent
	owners  map[string]*plugin // of events
}

// route is where a method leads.
type route struct {
	plugin *plugin
	offeredMethod
}

// openPlugins recalls the plugins that have registered before, and adds those that the host runs.
func openPlugins(ctx context.Context, kept *history, supervised map[string]Process, publish func(jobChange)) (*plugins, error) {
	store := kept.store
	known, err := store.Plugins(ctx)
	if err != nil {
		return nil, err
	}
	jobs, err := kept.load(ctx)
	if err != nil {
		return nil, err
	}
	ps := &plugins{store: store, history: kept, publish: publish, all: make(map[string]*plugin)}
	for _, k := range known {
		p := &plugin{name: k.Name, series: k.Series, jobs: ps.newTable(k.Series)}
		p.jobs.recall(jobs[k.Series])
		if err := json.Unmarshal(k.Offered, &p.offer); err != nil {
			return nil, fmt.Errorf("plugin %s: what it offers: %w", k.Name, err)
		}
		ps.all[k.Name] = p
	}
	for name, process := range supervised {
		p := ps.all[name]
		if p == nil {
			p = &plugin{name: name}
			ps.all[name] = p
		}
		p.process = process
		p.inUse = true
	}
	ps.indexLocked()
	return ps, nil
}

func (ps *plugins) newTable(series int64) *jobTable {
	t := newJobTable(series, ps.publish)
	t.history = ps.history
	return t
}

// indexLocked makes the tables anew. When two plugins have the same name in what they offer, the one that is in use counts:
// the other has not come back since the host started.
func (ps *plugins) indexLocked() {
	ps.methods, ps.events = make(map[string]route), make(map[string]offeredEvent)
	ps.owners = make(map[string]*plugin)
	names := slices.Sorted(maps.Keys(ps.all))
	for _, inUse := range []bool{false, true} {
		for _, name := range names {
			p := ps.all[name]
			p.mu.Lock()
			if p.inUse == inUse {
				for _, m := range p.offer.Methods {
					ps.methods[m.Name] = route{p, m}
				}
				for _, e := range p.offer.Events {
					ps.events[e.Name], ps.owners[e.Name] = e, p
				}
			}
			p.mu.Unlock()
		}
	}
}

// route finds who serves a method.
func (ps *plugins) route(method string) (route, bool) {
	ps.mu.RLock()
	defer ps.mu.RUnlock()
	r, ok := ps.methods[method]
	return r, ok
}

// event finds an event and the plugin that it is of.
func (ps *plugins) event(name string) (offeredEvent, *plugin) {
	ps.mu.RLock()
	defer ps.mu.RUnlock()
	return ps.events[name], ps.owners[name]
}

// unknown finds a plugin that the host runs and that has never said what it offers: any method might be one of its.
func (ps *plugins) unknown() *plugin {
	ps.mu.RLock()
	defer ps.mu.RUnlock()
	for _, name := range slices.Sorted(maps.Keys(ps.all)) {
		p := ps.all[name]
		p.mu.Lock()
		unknown := p.process != nil && p.series == 0
		p.mu.Unlock()
		if unknown {
			return p
		}
	}
	return nil
}

// list gives all plugins that have job tables, by name.
func (ps *plugins) list() []*plugin {
	ps.mu.RLock()
	defer ps.mu.RUnlock()
	var all []*plugin
	for _, name := range slices.Sorted(maps.Keys(ps.all)) {
		if ps.all[name].jobs != nil {
			all = append(all, ps.all[name])
		}
	}
	return all
}

// ofJob finds the plugin whose series a job's id is of.
func (ps *plugins) ofJob(id int64) (*plugin, bool) {
	for _, p := range ps.list() {
		if p.jobs.series == id%jobStep {
			return p, true
		}
	}
	return nil, false
}

// taken lists what of the offer another plugin has, or the host.
func (ps *plugins) taken(name string, o offer) (reasons []string) {
	ps.mu.RLock()
	defer ps.mu.RUnlock()
	check := func(kind, item string, owner *plugin) {
		switch {
		case reserved(item):
			reasons = append(reasons, fmt.Sprintf("%s %s is taken by the host", kind, item))
		case owner != nil && owner.name != name && owner.claims():
			reasons = append(reasons, fmt.Sprintf("%s %s is taken by the plugin %s", kind, item, owner.name))
		}
	}
	for _, m := range o.Methods {
		check("method", m.Name, ps.methods[m.Name].plugin)
	}
	for _, e := range o.Events {
		check("event", e.Name, ps.owners[e.Name])
	}
	return reasons
}

func (p *plugin) claims() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.inUse
}

// register lets a plugin in whose registration is in order, on the connection l.
func (ps *plugins) register(ctx context.Context, l *link, r registration, tokens *tokens) (registered, error) {
	ps.registering.Lock()
	defer ps.registering.Unlock()
	p := ps.named(r.Name)
	if r.Token != "" && !tokens.valid(string(r.Token)) || r.Secret != "" && (p == nil || !p.recognises(string(r.Secret))) {
		return registered{}, rpc.Errorf(rpc.EACCES, "the token or secret is wrong or was used before")
	}
	if taken := ps.taken(r.Name, r.offer); len(taken) > 0 {
		return registered{}, rpc.Errorf(rpc.EEXIST, "%s", strings.Join(taken, "; "))
	}
	if r.Token != "" && p != nil {
		if old := p.current(); old != nil && !old.same(r) && old.alive(ctx) {
			return registered{}, rpc.Errorf(rpc.EEXIST, "another process of the plugin %s is registered, pid %d", r.Name, old.pid)
		}
	}
	series, err := ps.remember(ctx, l, p, r)
	if err != nil {
		return registered{}, err
	}
	if r.Token != "" {
		if ok, err := tokens.use(string(r.Token)); err != nil {
			l.log.Error("no new registration token", "err", err)
		} else if !ok {
			return registered{}, rpc.Errorf(rpc.EACCES, "the token or secret is wrong or was used before")
		}
		l.token = digestOf(string(r.Token))
	}
	secret := ps.admit(l, r, series)
	return registered{
		Secret: secret, Jobs: jobSeries{First: series, Step: jobStep},
		Host: hostNaming{Name: "zferry", Version: l.host.config.Version},
	}, nil
}

// remember stores what a plugin offers, if that is new, and gives the plugin's series of job ids. Only a plugin that was never
// here before needs to be written: the others can work also when the disk is full.
func (ps *plugins) remember(ctx context.Context, l *link, p *plugin, r registration) (series int64, err error) {
	offered := mustJSON(r.offer)
	if p != nil {
		p.mu.Lock()
		series = p.series
		same := bytes.Equal(mustJSON(p.offer), offered)
		p.mu.Unlock()
		if series > 0 && same {
			return series, nil
		}
	}
	saved, err := ps.store.SavePlugin(ctx, r.Name, offered, jobStep-1)
	if err != nil && series > 0 {
		l.log.Error("what a plugin offers could not be stored", "plugin", r.Name, "err", err)
		return series, nil
	}
	return saved, err
}

// admit makes the plugin known and l its connection.
func (ps *plugins) admit(l *link, r registration, series int64) (secret string) {
	ps.mu.Lock()
	p := ps.all[r.Name]
	if p == nil {
		p = &plugin{name: r.Name}
		ps.all[r.Name] = p
	}
	if p.jobs == nil {
		p.jobs = ps.newTable(series)
	}
	p.mu.Lock()
	p.series = series
	p.mu.Unlock()
	l.plugin = p
	old, secret := p.attach(l, r)
	ps.indexLocked()
	ps.mu.Unlock()
	if old != nil {
		old.conn.Hangup(closeReplaced, "replaced by a new connection")
	}
	return secret
}

func (ps *plugins) named(name string) *plugin {
	ps.mu.RLock()
	defer ps.mu.RUnlock()
	return ps.all[name]
}
