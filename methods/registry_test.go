package methods_test

import (
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zferry/zferry/methods"
	"github.com/zferry/zferry/rpc"
)

func newLog(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// TestRegistry holds, of every method, its roles (3.1, 4.2), and what it is as a job; and that it is described.
func TestRegistry(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	type entry struct {
		roles, readRoles []string
		job              bool
	}
	read := func(roles ...string) entry { return entry{roles: roles} }
	want := map[string]entry{
		"replication.query":                           read(tasksRead, tasksWrite),
		"replication.get_instance":                    read(tasksRead, tasksWrite),
		"replication.create":                          read(tasksWrite),
		"keychaincredential.update":                   read(keysWrite),
		"keychaincredential.used_by":                  read(keysRead, keysWrite),
		"keychaincredential.get_of_type":              read("FULL_ADMIN"),
		"replication.update":                          read(tasksWrite),
		"replication.list_datasets":                   read(tasksWrite),
		"replication.create_dataset":                  read(tasksWrite),
		"replication.list_naming_schemas":             read(tasksWrite),
		"replication.count_eligible_manual_snapshots": read(tasksWrite),
		"replication.target_unmatched_snapshots":      read(tasksWrite),
		"replication.new_snapshot_name":               read("FULL_ADMIN"),
		"replication.delete":                          read(tasksWrite),
		"replication.run":                             {roles: []string{tasksWrite}, readRoles: []string{tasksRead}, job: true},
		"replication.run_onetime":                     {roles: []string{tasksWrite}, job: true}, // own jobs only
		"keychaincredential.query":                    read(keysRead, keysWrite),
		"keychaincredential.get_instance":             read(keysRead, keysWrite),
		"keychaincredential.create":                   read(keysWrite),
		"keychaincredential.delete":                   read(keysWrite),
		"keychaincredential.generate_ssh_key_pair":    read(keysWrite),
		"keychaincredential.remote_ssh_host_key_scan": read(keysWrite),
		"keychaincredential.setup_ssh_connection":     read(keysWrite),
		"keychain.setup_ssh":                          read(keysWrite),
	}
	got := map[string]entry{}
	for _, m := range a.registry.Methods() {
		got[m.Name] = entry{m.Roles, m.ReadRoles, m.Job}
		if m.Abortable != m.Job || m.Logs != m.Job {
			t.Errorf("%s: a run can be aborted and has a log: %+v", m.Name, m.Meta)
		}
		d := m.Description
		if len(d) < 10 || !strings.HasSuffix(d, ".") || strings.ToUpper(d[:1]) != d[:1] {
			t.Errorf("%s: description %q is no sentence", m.Name, d)
		}
		if slices.ContainsFunc(m.Roles, func(role string) bool { return strings.TrimSpace(role) == "" }) || len(m.Roles) == 0 {
			t.Errorf("%s: anybody may call it: %q", m.Name, m.Roles)
		}
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(entry{})); diff != "" {
		t.Errorf("methods (-want +got):\n%s", diff)
	}
	events := map[string][]string{"keychaincredential.query": {keysRead, keysWrite}, "replication.query": {tasksRead, tasksWrite}}
	if diff := cmp.Diff(events, methods.EventNames()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// TestArgumentsOfEveryMethod holds 1.4 for whatever is registered: too many arguments, and an object in place of the array.
func TestArgumentsOfEveryMethod(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	for _, m := range a.registry.Methods() {
		if m.Job {
			continue // see TestJobWithBadArguments
		}
		n := 0
		for _, f := range reflect.VisibleFields(m.In) {
			if !f.Anonymous {
				n++
			}
		}
		params := "[" + strings.TrimSuffix(strings.Repeat("{}, ", n+2), ", ") + "]"
		text := "Too many arguments (expected " + string(rune('0'+n)) + ", found " + string(rune('0'+n+2)) + ")"
		a.refuses(admin(), m.Name, params, invalid("", text))
		if _, err := a.call(admin(), m.Name, `{"id": 1}`); err == nil || rpc.ToWire(err).Code != rpc.CodeCall {
			t.Errorf("%s takes an object: %v", m.Name, err)
		}
	}
}
