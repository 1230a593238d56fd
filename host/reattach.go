package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/zferry/zferry/plugin/boundary"
)

// recordName is the note, in the plugin's data folder, by which a host finds a plugin that another has launched.
const recordName = "reattach.json"

// pluginRecord is what stands in it.
type pluginRecord struct {
	Protocol int    `json:"protocol"`
	Network  string `json:"network"`
	Address  string `json:"address"`
	boundary.Process
	Version string `json:"version"`
}

func (c *SupervisorConfig) recordPath() string { return filepath.Join(c.Dir, recordName) }

func (c *SupervisorConfig) writeRecord(r pluginRecord) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return boundary.WriteFile(c.recordPath(), append(text, '\n'))
}

// errNoRecord means that there is no plugin that could be found again.
var errNoRecord = errors.New("no plugin was left behind")

func (c *SupervisorConfig) readRecord() (pluginRecord, error) {
	text, err := os.ReadFile(c.recordPath())
	if errors.Is(err, os.ErrNotExist) {
		return pluginRecord{}, errNoRecord
	}
	if err != nil {
		return pluginRecord{}, err
	}
	var r pluginRecord
	if err := json.Unmarshal(text, &r); err != nil {
		return pluginRecord{}, fmt.Errorf("read %s: %v", c.recordPath(), err)
	}
	return r, nil
}

// forget removes the note of a plugin that has ended, and its socket, which it could not remove if it was killed.
func (c *SupervisorConfig) forget(r pluginRecord) {
	paths := []string{c.recordPath()}
	if r.Network == "unix" {
		paths = append(paths, r.Address, filepath.Dir(r.Address))
	}
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			c.Log.Warn("remove what a plugin has left", "path", path, "error", err)
		}
	}
}

// reattach finds the plugin that the note names. It believes the note only if the process is the one that was noted and
// answers; it never does anything to a process otherwise. errNoRecord means that the note names none that still runs.
func (c *SupervisorConfig) reattach(ctx context.Context) (*pluginInstance, error) {
	record, err := c.readRecord()
	if err != nil {
		return nil, err
	}
	if !record.Alive() {
		c.forget(record)
		return nil, errNoRecord
	}
	if record.Protocol != boundary.Protocol {
		return nil, fmt.Errorf("find the plugin: it speaks protocol %d, this host %d", record.Protocol, boundary.Protocol)
	}
	if record.Network != "unix" {
		return nil, fmt.Errorf("find the plugin: it listens on %q", record.Network)
	}
	config, err := boundary.HostTLS(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("find the plugin: %v", err)
	}
	remote, health, err := c.dial(ctx, &net.UnixAddr{Net: record.Network, Name: record.Address}, config)
	if err != nil {
		return nil, fmt.Errorf("find the plugin: %v", err)
	}
	record.Version = health.Version
	return &pluginInstance{
		Remote: remote, process: foundProcess(record.Process), record: record, found: true, health: health,
	}, nil
}
