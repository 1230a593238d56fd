package host

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestGetMethods is core.get_methods and core.get_services (truenas-api.md 2.6): only what the caller may call.
func TestGetMethods_2_6(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	p := newPlayed(t)
	accepts := json.RawMessage(`[{"_name_":"filters","_required_":false},{"_name_":"options","_required_":false}]`)
	p.join(h, with(registrationOf("zferry", []offeredMethod{
		{Name: "replication.query", Description: "Tasks.", Roles: []string{"REPLICATION_TASK_READ"}, Accepts: accepts, Returns: json.RawMessage(`{"type":"array"}`)},
		{Name: "replication.get_instance", Roles: []string{"REPLICATION_TASK_READ"}},
		{Name: "replication.run", Roles: []string{"REPLICATION_TASK_WRITE"}, Job: true},
		{Name: "zferry.config", Roles: []string{"REPLICATION_TASK_WRITE"}},
		{Name: "zferry.report", Job: true, Output: true},
	}), "token", h.NewToken()))
	admin, reader := h.login(h.adminKey()), h.login(h.userKey("ann", "REPLICATION_TASK_READ"))
	methods := func(c *testClient, args ...any) map[string]methodInfo {
		t.Helper()
		var found map[string]methodInfo
		c.must("core.get_methods", &found, args...)
		return found
	}
	names := func(m map[string]methodInfo) []string { return slices.Sorted(maps.Keys(m)) }
	if diff := cmp.Diff([]string{"replication.get_instance", "replication.query", "replication.run"}, names(methods(admin, "replication"))); diff != "" {
		t.Errorf("administrator (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"replication.get_instance", "replication.query"}, names(methods(reader, "replication", "CLI"))); diff != "" {
		t.Errorf("reader (-want +got):\n%s", diff)
	}
	all := methods(admin)
	want := methodInfo{
		Description: "Tasks.", CLIDescription: "Tasks.", Examples: []string{}, Accepts: accepts, Returns: json.RawMessage(`{"type":"array"}`),
		Filterable: true, Roles: []string{"REPLICATION_TASK_READ"},
	}
	if diff := cmp.Diff(want, all["replication.query"]); diff != "" {
		t.Errorf("replication.query (-want +got):\n%s", diff)
	}
	if m := all["zferry.report"]; !m.Job || !m.Downloadable || string(m.Accepts) != "null" || m.Uploadable {
		t.Errorf("zferry.report: %+v", m)
	}
	if m := all["core.ping"]; !m.NoAuthRequired || string(m.Accepts) != "[]" {
		t.Errorf("core.ping: %+v", m)
	}
	if m := all["core.get_jobs"]; !m.Filterable || m.NoAuthRequired {
		t.Errorf("core.get_jobs: %+v", m)
	}
	if !all["replication.get_instance"].ItemMethod {
		t.Error("replication.get_instance is no item method")
	}
	admin.fails(-32602, 22, "[EINVAL] service: There is no service of this name\n", "core.get_methods", "pool")
	admin.fails(-32602, 22, "[EINVAL] target: Input should be 'WS', 'CLI' or 'REST'\n", "core.get_methods", nil, "x")

	var services map[string]serviceInfo
	admin.must("core.get_services", &services)
	for name, kind := range map[string]string{"replication": "crud", "zferry": "config", "core": "service", "auth": "service"} {
		if got := services[name]; got.Type != kind || got.Config.Namespace != name {
			t.Errorf("service %s: %+v, want %s", name, got, kind)
		}
	}
	services = nil
	reader.must("core.get_services", &services, "WS")
	if services["zferry"].Type != "service" {
		t.Errorf("zferry for somebody who may not call its config: %+v", services["zferry"])
	}
	// The plugin's methods are known while it is away too.
	p.Close(0, "")
	eventually(t, "the plugin is away", func() bool { return h.plugins.named("zferry").current() == nil })
	if len(methods(admin)) != len(all) {
		t.Error("methods are missing while the plugin is away")
	}
}
