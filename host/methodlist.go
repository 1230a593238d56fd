package host

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/zferry/zferry/rpc"
)

type getMethodsArgs struct {
	Service *string `json:"service" default:"null" doc:"only methods of this namespace"`
	Target  string  `json:"target" default:"WS" enum:"WS,CLI,REST" doc:"who asks; the answer is the same for all"`
}

type getServicesArgs struct {
	Target string `json:"target" default:"WS" enum:"WS,CLI,REST" doc:"who asks; the answer is the same for all"`
}

// methodInfo is a method as core.get_methods describes it.
type methodInfo struct {
	Description    string          `json:"description"`
	CLIDescription string          `json:"cli_description"`
	Examples       []string        `json:"examples"`
	Accepts        json.RawMessage `json:"accepts"`
	Returns        json.RawMessage `json:"returns"`
	ItemMethod     bool            `json:"item_method"`
	NoAuthRequired bool            `json:"no_auth_required"`
	Filterable     bool            `json:"filterable"`
	Job            bool            `json:"job"`
	Downloadable   bool            `json:"downloadable"`
	Uploadable     bool            `json:"uploadable"`
	CheckPipes     bool            `json:"check_pipes"`
	Roles          []string        `json:"roles"`
}

// offers lists the methods that the user may call, by name.
func (h *Host) offers(who *identity) map[string]offeredMethod {
	all := make(map[string]offeredMethod)
	for _, m := range h.methods.Methods() {
		all[m.Name] = offeredMethod{
			Name: m.Name, Description: m.Description, Roles: m.Roles, Job: m.Job, Abortable: m.Abortable, Logs: m.Logs, ReadRoles: m.ReadRoles,
			Output: m.Output, Accepts: mustJSON(m.Accepts()), Returns: mustJSON(m.Returns()),
		}
	}
	for _, m := range h.plugins.offered() {
		all[m.Name] = m
	}
	for name, m := range all {
		if len(m.Roles) > 0 && !who.holds(m.Roles) {
			delete(all, name)
		}
	}
	return all
}

// offered lists the methods of all plugins, also of those that are away.
func (ps *plugins) offered() []offeredMethod {
	ps.mu.RLock()
	defer ps.mu.RUnlock()
	var all []offeredMethod
	for _, r := range ps.methods {
		all = append(all, r.offeredMethod)
	}
	return all
}

func (h *Host) getMethods(ctx context.Context, in getMethodsArgs) (map[string]methodInfo, error) {
	found := make(map[string]methodInfo)
	for name, m := range h.offers(callOf(ctx).who) {
		if in.Service == nil || serviceOf(name) == *in.Service {
			found[name] = m.info()
		}
	}
	if in.Service != nil && len(found) == 0 {
		return nil, rpc.ArgErrors{{Attribute: "service", Message: "There is no service of this name"}}
	}
	return found, nil
}

func (m *offeredMethod) info() methodInfo {
	i := methodInfo{
		Description: m.Description, CLIDescription: m.Description, Examples: []string{}, Accepts: m.Accepts, Returns: m.Returns,
		NoAuthRequired: withoutLogin(m.Name), Job: m.Job, Downloadable: m.Output, CheckPipes: m.Output, Roles: m.Roles,
	}
	var accepts []rpc.Schema
	if isNull(i.Accepts) || json.Unmarshal(i.Accepts, &accepts) != nil {
		i.Accepts, accepts = json.RawMessage("null"), nil // the plugin does not say
	}
	if isNull(i.Returns) {
		i.Returns = json.RawMessage("null")
	}
	if i.Roles == nil {
		i.Roles = []string{}
	}
	i.Filterable = len(accepts) == 2 && accepts[0].Name == "filters" && accepts[1].Name == "options"
	_, action := cutLast(m.Name)
	i.ItemMethod = slices.Contains([]string{"get_instance", "update", "delete"}, action)
	return i
}

// serviceInfo is a namespace as core.get_services describes it.
type serviceInfo struct {
	Config serviceConfig `json:"config"`
	Type   string        `json:"type"`
}

type serviceConfig struct {
	Namespace string `json:"namespace"`
	Private   bool   `json:"private"`
}

func (h *Host) getServices(ctx context.Context, _ getServicesArgs) (map[string]serviceInfo, error) {
	actions := make(map[string]map[string]bool)
	for name := range h.offers(callOf(ctx).who) {
		service, action := cutLast(name)
		if actions[service] == nil {
			actions[service] = make(map[string]bool)
		}
		actions[service][action] = true
	}
	found := make(map[string]serviceInfo)
	for service, has := range actions {
		kind := "service"
		switch {
		case has["query"] && has["get_instance"]:
			kind = "crud"
		case has["config"]:
			kind = "config"
		}
		found[service] = serviceInfo{Config: serviceConfig{Namespace: service}, Type: kind}
	}
	return found, nil
}

func serviceOf(method string) string {
	service, _ := cutLast(method)
	return service
}

// cutLast cuts a name at its last dot.
func cutLast(name string) (before, after string) {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return "", name
	}
	return name[:i], name[i+1:]
}
