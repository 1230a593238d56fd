package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/zferry/zferry/jobs"
	"github.com/zferry/zferry/plugin/boundary"
	"github.com/zferry/zferry/rpc"
)

// hostCalls are the methods that a host calls (docs/host-protocol.md).
func (p *Plugin) hostCalls() map[string]func(context.Context, *rpc.Conn, json.RawMessage) (any, error) {
	return map[string]func(context.Context, *rpc.Conn, json.RawMessage) (any, error){
		"plugin.call":       p.serveCall,
		"plugin.configure":  p.serveConfigure,
		"plugin.health":     p.serveHealth,
		"plugin.drain":      p.serveDrain,
		"plugin.jobs.list":  p.serveJobsList,
		"plugin.jobs.get":   p.serveJobsGet,
		"plugin.jobs.abort": p.serveJobsAbort,
		"plugin.jobs.log":   p.serveJobsLog,
	}
}

// handle answers the host.
func (p *Plugin) handle(ctx context.Context, c *rpc.Conn, r rpc.Request) (any, error) {
	method, ok := p.calls[r.Method]
	if !ok {
		return nil, rpc.ErrMethodNotFound
	}
	return method(ctx, c, r.Params)
}

// read reads the parameters of one of the host's calls.
func read[T any](params json.RawMessage) (in T, err error) {
	if len(params) == 0 {
		params = json.RawMessage("{}")
	}
	if err := json.Unmarshal(params, &in); err != nil {
		return in, rpc.Errorf(rpc.EINVAL, "parameters: %v", err)
	}
	return in, nil
}

func (p *Plugin) serveCall(ctx context.Context, _ *rpc.Conn, params json.RawMessage) (any, error) {
	in, err := read[pluginCall](params)
	if err != nil {
		return nil, err
	}
	m, ok := p.registry.Lookup(in.Method)
	if !ok {
		return nil, rpc.ErrMethodNotFound
	}
	if in.Output != nil || in.Input != nil {
		return nil, rpc.Errorf(rpc.EINVAL, "%s neither writes nor reads a byte stream", in.Method)
	}
	return m.Call(rpc.WithCaller(ctx, in.Caller), in.Params)
}

type configureParams struct {
	LogLevel string `json:"log_level"`
}

func (p *Plugin) serveConfigure(_ context.Context, _ *rpc.Conn, params json.RawMessage) (any, error) {
	in, err := read[configureParams](params)
	if err != nil {
		return nil, err
	}
	if in.LogLevel != "" {
		var level slog.Level
		if err := level.UnmarshalText([]byte(in.LogLevel)); err != nil {
			return nil, rpc.Errorf(rpc.EINVAL, "log_level: %q is none of DEBUG, INFO, WARN and ERROR", in.LogLevel)
		}
		p.level.Set(level)
	}
	return struct{}{}, nil
}

type healthResult struct {
	Status      string `json:"status"`
	Message     string `json:"message"`
	JobsRunning int    `json:"jobs_running"`
	Draining    bool   `json:"draining"`
	Version     string `json:"version"`
}

func (p *Plugin) serveHealth(ctx context.Context, _ *rpc.Conn, _ json.RawMessage) (any, error) {
	h, err := p.Health(ctx)
	return healthResult(h), err
}

const maxDrain = 24 * time.Hour

type drainParams struct {
	Seconds float64 `json:"seconds"`
	Exit    bool    `json:"exit"`
}

func (p *Plugin) serveDrain(ctx context.Context, _ *rpc.Conn, params json.RawMessage) (any, error) {
	in, err := read[drainParams](params)
	if err != nil {
		return nil, err
	}
	seconds := min(max(in.Seconds, 0), maxDrain.Seconds()) // a duration could not hold more
	interrupted, err := p.Drain(ctx, time.Duration(seconds*float64(time.Second)))
	if in.Exit {
		// After the answer has had time to go out.
		time.AfterFunc(exitAfterDrain, p.exit)
	}
	return map[string]any{"interrupted": interrupted}, err
}

func (p *Plugin) serveJobsList(context.Context, *rpc.Conn, json.RawMessage) (any, error) {
	all := p.jobs.List()
	list := make([]message, len(all))
	for i, j := range all {
		list[i] = jobMessage(j)
	}
	return map[string]any{"jobs": list}, nil
}

type jobParams struct {
	ID     int64   `json:"id"`
	Output *uint32 `json:"output"`
}

func (p *Plugin) serveJobsGet(_ context.Context, _ *rpc.Conn, params json.RawMessage) (any, error) {
	in, err := read[jobParams](params)
	if err != nil {
		return nil, err
	}
	j, err := p.jobs.Get(in.ID)
	if err != nil {
		return nil, jobError(err, in.ID)
	}
	return jobMessage(j), nil
}

func (p *Plugin) serveJobsAbort(_ context.Context, _ *rpc.Conn, params json.RawMessage) (any, error) {
	in, err := read[jobParams](params)
	if err != nil {
		return nil, err
	}
	return struct{}{}, jobError(p.jobs.Abort(in.ID), in.ID)
}

// serveJobsLog sends the whole log of a job.
func (p *Plugin) serveJobsLog(ctx context.Context, c *rpc.Conn, params json.RawMessage) (any, error) {
	in, err := read[jobParams](params)
	if err != nil {
		return nil, err
	}
	if in.Output == nil {
		return nil, rpc.Errorf(rpc.EINVAL, "output: the number of a byte stream is needed")
	}
	out := c.NewOutput(*in.Output)
	log, err := p.jobs.OpenLog(in.ID)
	if err != nil {
		err = jobError(err, in.ID)
		out.Abort(err.Error())
		return nil, err
	}
	defer log.Close()
	stop := context.AfterFunc(ctx, func() { out.Abort("the connection is lost") })
	defer stop()
	if _, err := io.Copy(out, log); err != nil {
		out.Abort("the log cannot be read")
		return nil, rpc.Errorf(rpc.EFAULT, "log of job %d: %v", in.ID, err)
	}
	return struct{}{}, out.Close()
}

func jobError(err error, id int64) error {
	switch {
	case errors.Is(err, jobs.ErrNotFound):
		return rpc.ArgErrors{{Null: true, Message: jobMissing(id), Errno: rpc.ENOENT}}
	case errors.Is(err, jobs.ErrNoLog):
		return rpc.Errorf(rpc.ENOENT, "This job has no logs")
	}
	return err
}

// Health implements boundary.Lifecycle.
func (p *Plugin) Health(context.Context) (boundary.Health, error) {
	h := boundary.Health{Status: "ok", JobsRunning: p.jobs.Running(), Draining: p.draining.Load(), Version: p.version}
	if trouble := p.kept.trouble(); trouble != "" {
		h.Status, h.Message = "degraded", trouble
	}
	return h, nil
}

// Drain implements boundary.Lifecycle.
func (p *Plugin) Drain(ctx context.Context, within time.Duration) ([]int64, error) {
	p.draining.Store(true)
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	interrupted := p.jobs.Drain(ctx, nil)
	if interrupted == nil {
		interrupted = []int64{}
	}
	return interrupted, nil
}

// Configure implements boundary.Lifecycle.
func (p *Plugin) Configure(_ context.Context, s boundary.Settings) error {
	if err := checkURL(s.URL); err != nil {
		return err
	}
	p.mu.Lock()
	p.given = &s
	p.mu.Unlock()
	p.link.changed()
	return nil
}
