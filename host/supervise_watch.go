package host

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/zferry/zferry/plugin/boundary"
)

// obtain finds the plugin that runs, or launches it if none does, and configures it. A *boundary.HeldError means that one
// runs and cannot be reached.
func (s *Supervisor) obtain(ctx context.Context) (*pluginInstance, error) {
	instance, err := s.find(ctx)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err == nil:
		return instance, nil
	case !errors.Is(err, errNoRecord) && s.Status().State != PluginUnreachable: // then it was said before
		s.config.Log.Warn("find the plugin that was left running", "error", err)
	}
	// The note may be missing or wrong in any way; whether a plugin runs, the lock tells.
	if err := boundary.LockHolder(s.config.Dir); err != nil {
		return nil, err
	}
	instance, err = s.config.launch(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.configure(ctx, instance); err != nil {
		return nil, errors.Join(err, s.end(instance))
	}
	return instance, nil
}

// find configures the plugin that an earlier host has left, unless it is to be replaced: then it ends it and says that
// there is none.
func (s *Supervisor) find(ctx context.Context) (*pluginInstance, error) {
	found, err := s.config.reattach(ctx)
	if err != nil {
		return nil, err
	}
	if s.outdated(found, found.health) {
		if err := s.drain(ctx, found); err != nil {
			return nil, err
		}
		return nil, errNoRecord
	}
	if err := s.configure(ctx, found); err != nil {
		found.leave()
		return nil, err
	}
	s.config.Log.Info("found the plugin that was left running", "pid", found.record.PID)
	return found, nil
}

func (s *Supervisor) configure(ctx context.Context, l boundary.Lifecycle) error {
	url, token, caPEM := s.config.Credentials()
	ctx, cancel := context.WithTimeout(ctx, s.config.HealthTimeout)
	defer cancel()
	return l.Configure(ctx, boundary.Settings{URL: url, Token: token, CAPEM: caPEM, LogLevel: s.config.LogLevel})
}

// outdated tells whether a plugin that was found is to make room for another one now: its program is not the one that is
// installed, or it has been drained and will never run a job again.
func (s *Supervisor) outdated(i *pluginInstance, h boundary.Health) bool {
	other := s.config.Version != "" && h.Version != s.config.Version
	if !i.found || h.JobsRunning > 0 || !other && !h.Draining {
		return false
	}
	s.config.Log.Info("replacing the plugin", "pid", i.record.PID, "version", h.Version, "by", s.config.Version)
	return true
}

// watch asks the plugin for its health until it ends or the context does. It returns nil if the plugin was ended because
// another one is to take its place.
func (s *Supervisor) watch(ctx context.Context, i *pluginInstance) error {
	c := &s.config
	s.change(PluginStatus{State: PluginRunning, PID: i.record.PID, Version: i.record.Version})
	tick := time.NewTicker(c.HealthEvery)
	defer tick.Stop()
	for misses := 0; ; {
		select {
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), ErrLeavePlugin) {
				i.leave()
				return context.Cause(ctx)
			}
			return s.drain(ctx, i)
		case <-i.process.ended:
			return s.crashed(i)
		case <-tick.C:
		}
		health, err := c.askHealth(ctx, i)
		switch {
		case ctx.Err() != nil:
			continue
		case err == nil && s.outdated(i, health):
			return s.drain(ctx, i)
		case err == nil:
			misses = 0
			continue
		}
		misses++
		c.Log.Warn("the plugin does not answer", "pid", i.record.PID, "misses", misses, "error", err)
		if misses < c.HealthMisses {
			continue
		}
		select {
		case <-i.process.ended: // which is why it has not answered
			return s.crashed(i)
		default:
		}
		err = fmt.Errorf("the plugin did not answer %d times in a row and was ended, pid %d: %v", misses, i.record.PID, err)
		return errors.Join(err, s.end(i))
	}
}

// crashed tells how a plugin has ended that was not to.
func (s *Supervisor) crashed(i *pluginInstance) error {
	i.leave()
	s.config.forget(i.record)
	how := "the plugin has ended"
	if i.process.exit != nil {
		how += ", " + i.process.exit.Error()
	}
	return fmt.Errorf("%s; its log is %s", how, filepath.Join(s.config.Dir, boundary.LogName))
}

// drain has the plugin end its jobs so that they can be resumed, and then ends it. The context counts only for what it
// carries: it may have ended.
func (s *Supervisor) drain(ctx context.Context, i *pluginInstance) error {
	c := &s.config
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.DrainTimeout+c.EndTimeout)
	defer cancel()
	interrupted, err := i.Drain(ctx, c.DrainTimeout)
	if err != nil {
		c.Log.Warn("the plugin was not drained", "pid", i.record.PID, "error", err)
	} else {
		c.Log.Info("drained the plugin", "pid", i.record.PID, "interrupted", interrupted)
	}
	return s.end(i)
}

// end ends the plugin, however it takes it.
func (s *Supervisor) end(i *pluginInstance) error {
	err := i.process.end(s.config.EndTimeout)
	i.leave()
	if err == nil {
		s.config.forget(i.record)
	}
	return err
}
