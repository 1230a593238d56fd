package host

import (
	"context"
	"time"
)

const (
	readyPoll = 20 * time.Millisecond
	// readyWait is how long a plugin that is on its way is waited for. What it offers is refused with the reason afterwards.
	readyWait = time.Minute
)

// settle waits until each plugin that the host runs has registered, or cannot be had for now.
func (h *Host) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for !h.settled() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (h *Host) settled() bool {
	for name, process := range h.processes {
		switch process.Status().State {
		case PluginDown, PluginUnreachable:
			continue
		case PluginStopped, PluginStarting, PluginRunning:
		}
		h.plugins.mu.RLock()
		p := h.plugins.all[name]
		h.plugins.mu.RUnlock()
		if _, err := p.connection(); err != nil {
			return false
		}
	}
	return true
}
