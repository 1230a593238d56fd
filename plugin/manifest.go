package plugin

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"

	"github.com/zferry/zferry/methods"
	"github.com/zferry/zferry/plugin/boundary"
	"github.com/zferry/zferry/rpc"
)

// release is the version that the manifest names: the one that is being worked on.
const release = "0.1.0"

type manifest struct {
	Name       string           `json:"name"`
	Version    string           `json:"version"`
	Protocol   int              `json:"protocol"` // of docs/host-protocol.md
	Executable string           `json:"executable"`
	Methods    []manifestMethod `json:"methods"`
	Events     []manifestEvent  `json:"events"`
	Elements   []string         `json:"elements"` // of the user interface
}

type manifestMethod struct {
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Roles       []string `json:"roles"`
	Job         bool     `json:"job,omitempty"`
	Abortable   bool     `json:"abortable,omitempty"`
	Logs        bool     `json:"logs,omitempty"`
	ReadRoles   []string `json:"read_roles,omitempty"`
}

type manifestEvent struct {
	Name  string   `json:"name"`
	Roles []string `json:"roles"`
}

// Release is the version that descriptions of the plugin name.
func Release() string { return release }

// Methods registers the plugin's methods for a description of them. They cannot be called.
func Methods(r *rpc.Registry) {
	methods.Keychain(r, nil, nil, nil)
	methods.Replication(r, nil, nil, nil, nil)
}

// Manifest is manifest.json: what a host can know of the plugin without starting it. It is made from the methods themselves.
func Manifest() ([]byte, error) {
	var r rpc.Registry
	Methods(&r)
	m := manifest{Name: "zferry", Version: release, Protocol: boundary.Protocol, Executable: "zferry-plugin", Elements: []string{}}
	for _, x := range r.Methods() {
		m.Methods = append(m.Methods, manifestMethod{x.Name, x.Description, orEmpty(x.Roles), x.Job, x.Abortable, x.Logs, x.ReadRoles})
	}
	events := methods.EventNames()
	for _, name := range slices.Sorted(maps.Keys(events)) {
		m.Events = append(m.Events, manifestEvent{name, events[name]})
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(m)
	return out.Bytes(), err
}
