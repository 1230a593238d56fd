package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/zferry/zferry/rpc"
)

// playedPlugin speaks docs/host-protocol.md and does what a test says.
type playedPlugin struct {
	*rpc.Conn
	t      testing.TB
	answer registered

	mu      sync.Mutex // guards the fields below
	jobs    map[int64]map[string]any
	calls   []forwarded
	aborted []int64
	logs    map[int64]string
	rev     uint64
	do      map[string]func(ctx context.Context, f forwarded) (any, error) // what methods do
}

// registrationOf is what a plugin says that has these methods.
func registrationOf(name string, methods []offeredMethod, events ...offeredEvent) map[string]any {
	return map[string]any{
		"protocol": 1, "name": name, "version": "0.1.0", "pid": os.Getpid(), "started": "1093217",
		"methods": methods, "events": events, "jobs": map[string]any{"last": 0},
	}
}

// usual is the plugin of most tests.
func usual() map[string]any {
	return registrationOf("zferry", []offeredMethod{
		{Name: "replication.query", Roles: []string{"REPLICATION_TASK_READ"}},
		{Name: "replication.create", Roles: []string{"REPLICATION_TASK_WRITE"}},
		{Name: "replication.run", Roles: []string{"REPLICATION_TASK_WRITE"}, Job: true, Abortable: true, Logs: true, ReadRoles: []string{"REPLICATION_TASK_READ"}},
		{Name: "zferry.version"},
	}, offeredEvent{Name: "replication.query", Roles: []string{"REPLICATION_TASK_READ"}})
}

func with(m map[string]any, key string, value any) map[string]any {
	m = maps.Clone(m)
	m[key] = value
	return m
}

func newPlayed(t testing.TB) *playedPlugin {
	return &playedPlugin{
		t: t, jobs: make(map[int64]map[string]any), logs: make(map[int64]string),
		do: make(map[string]func(context.Context, forwarded) (any, error)),
	}
}

// connect dials and does not register.
func (p *playedPlugin) connect(url string) {
	p.t.Helper()
	var err error
	p.Conn, err = rpc.Dial(p.t.Context(), url, rpc.DialOptions{Header: http.Header{}}, rpc.Options{
		Handler: p.handle, Streams: true, OddStreams: true,
	})
	if err != nil {
		p.t.Fatal(err)
	}
	conn := p.Conn
	p.t.Cleanup(func() { conn.Close(0, "") })
}

// register registers, and gives back the error of that.
func (p *playedPlugin) register(registration map[string]any) error {
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	p.answer = registered{}
	return p.Call(ctx, "plugin.register", registration, &p.answer)
}

func (h *testHost) pluginURL() string { return h.addr.Plugin + "?path=/plugin/v1" }

// plugin connects the usual plugin, and waits until calls reach it.
func (h *testHost) plugin() *playedPlugin {
	h.t.Helper()
	p := newPlayed(h.t)
	p.join(h, with(usual(), "token", h.NewToken()))
	return p
}

// join connects and registers, and waits until calls reach it.
func (p *playedPlugin) join(h *testHost, registration map[string]any) {
	p.t.Helper()
	p.connect(h.pluginURL())
	if err := p.register(registration); err != nil {
		p.t.Fatal(err)
	}
	name := fmt.Sprint(registration["name"])
	eventually(p.t, "the plugin's table has been fetched", func() bool {
		known := h.plugins.named(name)
		l := known.current()
		return l != nil && l.open.Load() && l.fetched.Load()
	})
}

// rejoin connects again with the reconnect secret.
func (p *playedPlugin) rejoin(h *testHost) {
	p.t.Helper()
	p.join(h, with(usual(), "secret", p.answer.Secret))
}

func (p *playedPlugin) handle(ctx context.Context, c *rpc.Conn, r rpc.Request) (any, error) {
	switch r.Method {
	case "plugin.call":
		var f forwarded
		if err := json.Unmarshal(r.Params, &f); err != nil {
			return nil, err
		}
		p.mu.Lock()
		p.calls = append(p.calls, f)
		do := p.do[f.Method]
		p.mu.Unlock()
		if do == nil {
			return "done", nil
		}
		return do(ctx, f)
	case "plugin.health":
		return map[string]any{"status": "ok"}, nil
	case "plugin.jobs.list":
		p.mu.Lock()
		defer p.mu.Unlock()
		list := []map[string]any{}
		for _, id := range slices.Sorted(maps.Keys(p.jobs)) {
			list = append(list, p.jobs[id])
		}
		return map[string]any{"jobs": list}, nil
	}
	var in struct {
		ID     int64
		Output uint32
	}
	if err := json.Unmarshal(r.Params, &in); err != nil {
		return nil, err
	}
	p.mu.Lock()
	job, log := p.jobs[in.ID], p.logs[in.ID]
	p.mu.Unlock()
	if job == nil {
		return nil, rpc.NotFound("Job with id", in.ID)
	}
	switch r.Method {
	case "plugin.jobs.get":
		return job, nil
	case "plugin.jobs.abort":
		p.mu.Lock()
		p.aborted = append(p.aborted, in.ID)
		p.mu.Unlock()
		return struct{}{}, nil
	case "plugin.jobs.log":
		if log == "" {
			return nil, rpc.Errorf(rpc.ENOENT, "This job has no logs")
		}
		out := c.NewOutput(in.Output)
		if _, err := out.Write([]byte(log)); err != nil {
			return nil, err
		}
		return struct{}{}, out.Close()
	}
	return nil, rpc.ErrMethodNotFound
}

// on says what a method does.
func (p *playedPlugin) on(method string, do func(ctx context.Context, f forwarded) (any, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.do[method] = do
}

func (p *playedPlugin) lastCall() forwarded {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.calls) == 0 {
		p.t.Fatal("no call has come")
	}
	return p.calls[len(p.calls)-1]
}

// set changes a job without telling the host. Members that are named take the place of those before.
func (p *playedPlugin) set(id int64, state string, members ...any) map[string]any {
	p.mu.Lock()
	defer p.mu.Unlock()
	frame := p.jobs[id]
	if frame == nil {
		frame = map[string]any{
			"job": map[string]any{
				"id": id, "message_ids": []any{}, "method": "replication.run", "arguments": []any{1}, "transient": false, "description": nil,
				"abortable": true, "logs_path": nil, "logs_excerpt": nil, "progress": map[string]any{"percent": 0, "description": "", "extra": nil},
				"result": nil, "result_encoding_error": nil, "error": nil, "exception": nil, "exc_info": nil,
				"time_started": map[string]any{"$date": 1700000000000}, "time_finished": nil,
				"credentials": map[string]any{"type": "API_KEY", "data": map[string]any{"username": "admin"}},
			},
			"audience": map[string]any{"roles": []string{"REPLICATION_TASK_READ"}, "owner": "admin"},
		}
	}
	frame = maps.Clone(frame)
	job := maps.Clone(frame["job"].(map[string]any))
	p.rev++
	job["state"], job["rev"] = state, p.rev
	for member := range slices.Chunk(members, 2) {
		if name := member[0].(string); name == "audience" {
			frame[name] = member[1]
		} else {
			job[name] = member[1]
		}
	}
	frame["job"] = job
	p.jobs[id] = frame
	return frame
}

// tell changes a job and tells the host.
func (p *playedPlugin) tell(id int64, state string, members ...any) {
	p.t.Helper()
	p.send("plugin.job", p.set(id, state, members...))
}

func (p *playedPlugin) send(method string, params any) {
	p.t.Helper()
	if err := p.Notify(p.t.Context(), method, params); err != nil && !errors.Is(err, rpc.ErrClosed) {
		p.t.Fatal(err)
	}
}

func progress(percent int) map[string]any {
	return map[string]any{"percent": percent, "description": "sending", "extra": nil}
}
