package methods_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/zferry/zferry/rpc"
)

// absent as the value of a member leaves it out.
const absent = `"(absent)"`

// definition is the argument of create, changed by members of a JSON object.
func definition(changes string) string {
	return merged(`{"name": "nightly", "direction": "PUSH", "transport": "LOCAL", "source_datasets": ["tank/data"], "target_dataset": "vault/copy",
		"recursive": true, "auto": false, "name_regex": ".*", "retention_policy": "NONE", "properties": false, "readonly": "IGNORE"}`, changes)
}

// onetime is the argument of run_onetime.
func onetime(changes string) string {
	return merged(definition(`"name": `+absent+`, "auto": `+absent+`, "mount": false`), changes)
}

// createPush is definition over SSH.
func createPush(changes string) string {
	return merged(definition(`"transport": "SSH", "target_dataset": "backup/copy"`), changes)
}

// merged changes the object in base, which may stand in an array, and gives it in an array.
func merged(base, changes string) string {
	base = strings.TrimSuffix(strings.TrimPrefix(base, "["), "]")
	var object, more map[string]json.RawMessage
	if err := json.Unmarshal([]byte(base), &object); err != nil {
		panic(err) // a mistake in a test
	}
	if err := json.Unmarshal([]byte("{"+changes+"}"), &more); err != nil {
		panic(err) // likewise
	}
	maps.Copy(object, more)
	maps.DeleteFunc(object, func(_ string, v json.RawMessage) bool { return string(v) == absent })
	text, err := json.Marshal([]any{object})
	if err != nil {
		panic(err) // of JSON
	}
	return string(text)
}

func tasksReader() rpc.Caller { return holder(tasksRead) }
func tasksWriter() rpc.Caller { return holder(tasksRead, tasksWrite) }
func tasksPuller() rpc.Caller { return holder(tasksRead, tasksWrite, tasksPulled) }

// fresh is the entry that definition makes, with the defaults of 3.2.
const fresh = `{"id": 1, "name": "nightly", "direction": "PUSH", "transport": "LOCAL", "ssh_credentials": null, "netcat_active_side": null,
	"netcat_active_side_listen_address": null, "netcat_active_side_port_min": null, "netcat_active_side_port_max": null,
	"netcat_passive_side_connect_address": null, "sudo": false, "source_datasets": ["tank/data"], "target_dataset": "vault/copy", "recursive": true,
	"exclude": [], "properties": false, "properties_exclude": [], "properties_override": {}, "replicate": false, "encryption": false,
	"encryption_inherit": null, "encryption_key": null, "encryption_key_format": null, "encryption_key_location": null,
	"periodic_snapshot_tasks": [], "naming_schema": [], "also_include_naming_schema": [], "name_regex": ".*", "auto": false, "schedule": null,
	"restrict_schedule": null, "only_matching_schedule": false, "allow_from_scratch": false, "readonly": "IGNORE", "hold_pending_snapshots": false,
	"retention_policy": "NONE", "lifetime_value": null, "lifetime_unit": null, "lifetimes": [], "compression": null, "speed_limit": null,
	"large_block": true, "embed": false, "compressed": true, "retries": 5, "logging_level": null, "enabled": true, "state": {"state": "PENDING"},
	"job": null, "has_encrypted_dataset_keys": false}`

// TestReplicationEntry holds 3.2: what create, get_instance, query and the event give has every key once, in the order of 3.2
// where it is not a result of the query language, with its default.
func TestReplicationEntry(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	created := a.must(tasksWriter(), "replication.create", definition(""))
	wantJSON(t, "3.2: create", fresh, created)
	want := keysOf(t, fresh)
	wantKeys(t, "3.2: create", created, want...)
	events := a.wantEvents("replication.query added 1")
	wantJSON(t, "3.2: event", fresh, fieldsOf(t, events[0]))
	wantKeys(t, "3.2: event", fieldsOf(t, events[0]), want...)
	for _, who := range []rpc.Caller{admin(), tasksWriter(), tasksReader()} {
		one := a.must(who, "replication.get_instance", `[1]`)
		wantJSON(t, "3.2: get_instance", fresh, one)
		wantKeys(t, "3.2: get_instance", one, want...)
		a.want(who, "replication.query", `[]`, "["+fresh+"]")
		row := a.must(who, "replication.query", `[[], {"get": true}]`)
		wantKeys(t, "3.2: query", row, slices.Sorted(slices.Values(want))...)
	}
}

// TestReplicationConnection holds that an entry shows the whole connection, to readers without its attributes (2.8, 3.2).
func TestReplicationConnection(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	_, connection := a.withConnection()
	shown := `{"id": 2, "name": "nas2", "type": "SSH_CREDENTIALS", "attributes": ` + connection + `}`
	hidden := `{"id": 2, "name": "nas2", "type": "SSH_CREDENTIALS", "attributes": ` + maskedText + `}`
	created := a.must(tasksWriter(), "replication.create", createPush(`"ssh_credentials": 2, "sudo": true, "retries": 2, "logging_level": "DEBUG", "enabled": false`))
	wantJSON(t, "3.2: create", shown, at(t, created, "ssh_credentials"))
	events := a.wantEvents("replication.query added 1")
	wantJSON(t, "2.3: event", hidden, at(t, fieldsOf(t, events[0]), "ssh_credentials"))
	for path, want := range map[string]string{"sudo": "true", "retries": "2", "logging_level": `"DEBUG"`, "enabled": "false", "transport": `"SSH"`} {
		wantJSON(t, path, want, at(t, created, path))
	}
	for _, tt := range []struct {
		who  rpc.Caller
		want string
	}{{admin(), shown}, {tasksWriter(), shown}, {tasksReader(), hidden}, {holder(keysRead, keysWrite, tasksRead), hidden}} {
		wantJSON(t, "get_instance", tt.want, at(t, a.must(tt.who, "replication.get_instance", `[1]`), "ssh_credentials"))
		wantJSON(t, "query", tt.want, at(t, a.must(tt.who, "replication.query", `[[["ssh_credentials.id", "=", 2]], {"get": true}]`), "ssh_credentials"))
	}
	a.want(tasksReader(), "replication.query", `[[["ssh_credentials.attributes.host", "=", "nas2.example"]], {"count": true}]`, `0`)
}

// TestReplicationQuery holds 2.7, 2.8 and 1.3 over tasks: filters reach into the state, count, select, get.
func TestReplicationQuery(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.must(tasksWriter(), "replication.create", definition(""))
	a.must(tasksWriter(), "replication.create", definition(`"name": "weekly", "enabled": false`))
	const q = "replication.query"
	a.want(tasksReader(), q, `[[["state.state", "=", "PENDING"], ["enabled", "=", true]], {"select": ["id", "name"]}]`, `[{"id": 1, "name": "nightly"}]`)
	a.want(tasksReader(), q, `[[], {"count": true, "limit": 1}]`, `2`)
	a.want(tasksReader(), q, `[[["OR", [["name", "^", "week"], ["id", ">", 7]]]], {"get": true, "select": ["name"]}]`, `{"name": "weekly"}`)
	a.want(tasksReader(), q, `[[], {"order_by": ["-name"], "select": ["name"]}]`, `[{"name": "weekly"}, {"name": "nightly"}]`)
	_, err := a.call(tasksReader(), q, `[[["id", "=", 9]], {"get": true}]`)
	if e := rpc.ToWire(err); e.Code != rpc.CodeCall || at(t, string(e.Data), "reason") != `"MatchNotFound()"` || at(t, string(e.Data), "error") != "22" {
		t.Errorf("1.3: %d %s", e.Code, e.Data)
	}
}

// TestReplicationUnknownIDs holds 1.3: one triple with attribute null.
func TestReplicationUnknownIDs(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	missing := fault{"null", "Replication 7 does not exist", 2}
	a.refuses(admin(), "replication.get_instance", `[7]`, missing)
	a.refuses(admin(), "replication.delete", `[7]`, missing)
	a.refuses(admin(), "replication.delete", `["7"]`, invalid("id", "Input should be a valid integer"))
	a.refuses(admin(), "replication.delete", `[]`, invalid("id", "Field required"))
	a.wantEvents()
}

// TestReplicationDelete holds 3.1: true, and an event with the id only. What happens to a run is held by TestDeleteAborts.
func TestReplicationDelete(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.must(tasksWriter(), "replication.create", definition(""))
	a.events.take()
	a.want(tasksWriter(), "replication.delete", `[1]`, `true`)
	a.wantEvents("replication.query removed 1")
	a.want(tasksReader(), "replication.query", `[]`, `[]`)
}

// TestReplicationCreateFaults holds the model of 3.2 and the rules of 3.3 under their prefix, all at once, nothing kept or told.
func TestReplicationCreateFaults(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.withConnection()
	a.must(tasksWriter(), "replication.create", definition(`"name": "weekly"`))
	a.events.take()
	const (
		pre         = "replication_create."
		required    = "Field required"
		unsupported = "This version of zferry does not support this: "
		netcat      = "This field only has sense for SSH+netcat replication"
		least       = "Input should be greater than or equal to 1"
	)
	tests := []struct {
		name, params string
		want         []fault
	}{
		{"3.2: empty", `[{}]`, []fault{
			invalid(pre+"name", required), invalid(pre+"auto", required), invalid(pre+"direction", required), invalid(pre+"transport", required),
			invalid(pre+"source_datasets", required), invalid(pre+"target_dataset", required), invalid(pre+"recursive", required),
			invalid(pre+"retention_policy", required),
		}},
		{"3.2: types", definition(`"name": "", "direction": "BOTH", "transport": "FTP", "source_datasets": [], "target_dataset": 1, "recursive": 1,
			"retries": 0, "speed_limit": 0, "lifetime_value": 0, "lifetime_unit": "DECADE", "name_regex": "", "readonly": "NO", "compression": "ZIP",
			"logging_level": "WARN", "netcat_active_side_port_max": 65536, "netcat_active_side": "BOTH", "ssh_credentials": {"id": 2}, "exclude": [1],
			"properties_override": {"quota": 1}, "retention_policy": "ALL", "encryption_key_format": "RAW", "id": 1`), []fault{
			invalid(pre+"name", "String should have at least 1 character"),
			invalid(pre+"direction", "Input should be 'PUSH' or 'PULL'"),
			invalid(pre+"transport", "Input should be 'SSH', 'SSH+NETCAT' or 'LOCAL'"),
			invalid(pre+"ssh_credentials", "Input should be a valid integer"),
			invalid(pre+"netcat_active_side", "Input should be 'LOCAL' or 'REMOTE'"),
			invalid(pre+"netcat_active_side_port_max", "Input should be less than or equal to 65535"),
			invalid(pre+"source_datasets", "List should have at least 1 item after validation, not 0"),
			invalid(pre+"target_dataset", "Input should be a valid string"),
			invalid(pre+"recursive", "Input should be a valid boolean"),
			invalid(pre+"exclude.0", "Input should be a valid string"),
			invalid(pre+"properties_override.quota", "Input should be a valid string"),
			invalid(pre+"encryption_key_format", "Input should be 'HEX' or 'PASSPHRASE'"),
			invalid(pre+"name_regex", "String should have at least 1 character"),
			invalid(pre+"readonly", "Input should be 'SET', 'REQUIRE' or 'IGNORE'"),
			invalid(pre+"retention_policy", "Input should be 'SOURCE', 'CUSTOM' or 'NONE'"),
			invalid(pre+"lifetime_value", least),
			invalid(pre+"lifetime_unit", "Input should be 'HOUR', 'DAY', 'WEEK', 'MONTH' or 'YEAR'"),
			invalid(pre+"compression", "Input should be 'LZ4', 'PIGZ' or 'PLZIP'"),
			invalid(pre+"speed_limit", least),
			invalid(pre+"retries", least),
			invalid(pre+"logging_level", "Input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
			invalid(pre+"id", "Extra inputs are not permitted"),
		}},
		{"3.2: fields of one-time runs", definition(`"mount": false`), []fault{invalid(pre+"mount", "Extra inputs are not permitted")}},
		{"3.3 rule 1", definition(`"name": "weekly"`), []fault{invalid(pre+"name", "Object with this name already exists")}},
		{"3.3 rule 4", definition(`"name_regex": null`), []fault{invalid(pre+"periodic_snapshot_tasks", `You must at least either bind a periodic snapshot task or provide "Also Include Naming Schema" or "Name Regex" for push replication task`)}},
		{"3.3 rule 11", definition(`"direction": "PULL"`), []fault{invalid(pre+"direction", "You don't have permissions to use PULL replication")}},
		{"3.3 rule 20", createPush(""), []fault{invalid(pre+"ssh_credentials", "SSH Credentials are required for non-local replication")}},
		{"3.3 rule 21", createPush(`"ssh_credentials": 9`), []fault{invalid(pre+"ssh_credentials", "[ENOENT] Credential does not exist")}},
		{"3.3 rule 21", createPush(`"ssh_credentials": 1`), []fault{invalid(pre+"ssh_credentials", "[EINVAL] Credential is not of type SSH_CREDENTIALS")}},
		{"3.3: all rules in order", definition(`"name": "weekly", "direction": "PULL", "name_regex": null, "netcat_active_side": "LOCAL",
			"netcat_active_side_listen_address": "x", "netcat_active_side_port_min": 1, "netcat_active_side_port_max": 2,
			"netcat_passive_side_connect_address": "y", "ssh_credentials": 2, "compression": "LZ4", "speed_limit": 1, "target_dataset": "tank/data"`), []fault{
			invalid(pre+"name", "Object with this name already exists"),
			invalid(pre+"naming_schema", "Naming schema or Name regex are required for pull replication"),
			invalid(pre+"direction", "You don't have permissions to use PULL replication"),
			invalid(pre+"netcat_active_side", netcat),
			invalid(pre+"netcat_active_side_listen_address", netcat),
			invalid(pre+"netcat_active_side_port_min", netcat),
			invalid(pre+"netcat_active_side_port_max", netcat),
			invalid(pre+"netcat_passive_side_connect_address", netcat),
			invalid(pre+"ssh_credentials", "Remote credentials have no sense for local replication"),
			invalid(pre+"compression", "Compression has no sense for local replication"),
			invalid(pre+"speed_limit", "Speed limit has no sense for local replication"),
			invalid(pre+"target_dataset", "Target 'tank/data' and source 'tank/data' are the same dataset or one lies inside the other. Choose a target outside the source"),
		}},
		{"what a wizard sends", definition(`"properties": true, "readonly": "SET", "auto": true, "schedule": {}, "retention_policy": "SOURCE", "allow_from_scratch": true,
			"lifetimes": [{}], "encryption": true, "encryption_key": "correct horse"`), []fault{
			invalid(pre+"encryption_key_format", "This property is required when remote dataset encryption is enabled"),
			invalid(pre+"encryption_key_location", "This property is required when remote dataset encryption is enabled"),
			invalid(pre+"lifetimes", "This field has no sense for specified retention policy"),
			invalid(pre+"properties", unsupported+"set it to false; the target inherits its properties"),
			invalid(pre+"encryption", unsupported+"set it to false; encrypted datasets stay encrypted as they are"),
			invalid(pre+"encryption_key", unsupported+"leave it out"),
			invalid(pre+"auto", unsupported+"set it to false and start the task with replication.run"),
			invalid(pre+"schedule", unsupported+"leave it out and start the task with replication.run"),
			invalid(pre+"allow_from_scratch", unsupported+"set it to false; a target that has nothing in common is refused and left as it is"),
			invalid(pre+"readonly", unsupported+"set it to IGNORE"),
			invalid(pre+"retention_policy", unsupported+"set it to NONE; no snapshot is destroyed at the target"),
		}},
		{"nothing is asked for by an empty value", definition(`"name": "weekly", "lifetimes": [ ], "restrict_schedule": null, "exclude": [], "properties_override": {}`), []fault{
			invalid(pre+"name", "Object with this name already exists"),
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a.refuses(tasksWriter(), "replication.create", tt.params, tt.want...)
		})
	}
	a.want(admin(), "replication.query", `[[], {"count": true}]`, `1`)
	a.wantEvents()

	// Rule 11 is for those who lack the role.
	a.must(tasksPuller(), "replication.create", definition(`"direction": "PULL"`))
	a.must(admin(), "replication.create", definition(`"direction": "PULL", "name": "admin's"`))
}
