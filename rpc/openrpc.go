package rpc

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// openDocument is an OpenRPC document (spec.open-rpc.org, 1.3).
type openDocument struct {
	OpenRPC string       `json:"openrpc"`
	Info    openInfo     `json:"info"`
	Methods []openMethod `json:"methods"`
}

type openInfo struct {
	Title       string      `json:"title"`
	Description string      `json:"description"`
	Version     string      `json:"version"`
	License     openLicense `json:"license"`
}

type openLicense struct {
	Name string `json:"name"`
}

type openMethod struct {
	Name      string      `json:"name"`
	Summary   string      `json:"summary,omitempty"`
	Structure string      `json:"paramStructure"`
	Params    []openValue `json:"params"`
	Result    openValue   `json:"result"`

	Roles     []string `json:"x-roles"`
	Job       bool     `json:"x-job,omitempty"`
	Abortable bool     `json:"x-abortable,omitempty"`
	Logs      bool     `json:"x-logs,omitempty"`
	Output    bool     `json:"x-output,omitempty"`
	ReadRoles []string `json:"x-read-roles,omitempty"`
}

type openValue struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Required    bool   `json:"required,omitempty"`
	Schema      Schema `json:"schema"`
}

// OpenRPC describes the methods of all registries in a JSON document of that standard. Roles and what is special about jobs
// stand in members whose names begin with x-.
func OpenRPC(title, description, version string, registries ...*Registry) ([]byte, error) {
	d := openDocument{OpenRPC: "1.3.2", Info: openInfo{title, description, version, openLicense{"Apache-2.0"}}}
	for _, r := range registries {
		for _, m := range r.Methods() {
			d.Methods = append(d.Methods, openMethodOf(m))
		}
	}
	slices.SortFunc(d.Methods, func(a, b openMethod) int { return strings.Compare(a.Name, b.Name) })
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(d)
	return out.Bytes(), err
}

func openMethodOf(m Method) openMethod {
	o := openMethod{
		Name: m.Name, Summary: m.Description, Structure: "by-position", Params: []openValue{}, Result: openValue{Name: "result", Schema: *m.Returns()},
		Roles: m.Roles, Job: m.Job, Abortable: m.Abortable, Logs: m.Logs, Output: m.Output, ReadRoles: m.ReadRoles,
	}
	if o.Roles == nil {
		o.Roles = []string{}
	}
	if m.Job {
		o.Result.Description = "of the job; with legacy_jobs the answer is its id, at once"
	}
	for _, s := range m.Accepts() {
		v := openValue{Name: s.Name, Description: s.Description, Required: *s.Required, Schema: *s}
		v.Schema.Name, v.Schema.Required, v.Schema.Description = "", nil, ""
		o.Params = append(o.Params, v)
	}
	return o
}
