package methods_test

import "testing"

// TestReplicationUpdate holds 3.4: what is not given stays, what is given counts, null is null, and the event has the whole entry.
func TestReplicationUpdate(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.withConnection()
	a.must(tasksWriter(), "replication.create", createPush(`"ssh_credentials": 2, "sudo": true, "logging_level": "DEBUG"`))
	a.events.take()
	before := a.must(tasksWriter(), "replication.get_instance", `[1]`)
	want := func(text, changes string) string {
		all := merged(text, changes)
		return all[1 : len(all)-1]
	}
	a.want(tasksWriter(), "replication.update", `[1, {}]`, before)
	changed := want(before, `"name": "weekly", "retries": 2, "logging_level": null, "enabled": false`)
	a.want(tasksWriter(), "replication.update", `[1, {"name": "weekly", "retries": 2, "logging_level": null, "enabled": false}]`, changed)
	a.wantEvents("replication.query changed 1", "replication.query changed 1")
	local := want(changed, `"transport": "LOCAL", "ssh_credentials": null, "target_dataset": "vault/copy"`)
	a.want(tasksWriter(), "replication.update", `[1, {"transport": "LOCAL", "ssh_credentials": null, "target_dataset": "vault/copy"}]`, local)
	a.want(tasksWriter(), "replication.get_instance", `[1]`, local)
	a.events.take()
}

// TestReplicationUpdateFaults holds 3.3 and 3.4: the whole is checked under the prefix of update, and nothing is changed or told.
func TestReplicationUpdateFaults(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.withConnection()
	a.must(tasksWriter(), "replication.create", definition(""))
	a.must(tasksWriter(), "replication.create", definition(`"name": "weekly", "target_dataset": "vault/other"`))
	a.events.take()
	before := a.must(tasksReader(), "replication.query", `[]`)
	const pre = "replication_update."
	tests := []struct {
		name, params string
		want         []fault
	}{
		{"1.3: unknown id", `[7, {}]`, []fault{{"null", "Replication 7 does not exist", 2}}},
		{"1.4: nothing given", `[1]`, []fault{invalid("replication_update", "Field required")}},
		{"1.4: no object", `[1, "x"]`, []fault{invalid("replication_update", "Input should be a valid dictionary")}},
		{"1.4: null", `[1, null]`, []fault{invalid("replication_update", "Input should be a valid dictionary")}},
		{"3.2: types", `[1, {"name": "", "retries": "2", "recursive": null, "id": 3}]`, []fault{
			invalid(pre+"name", "String should have at least 1 character"),
			invalid(pre+"recursive", "Input should be a valid boolean"),
			invalid(pre+"retries", "Input should be a valid integer"),
			invalid(pre+"id", "Extra inputs are not permitted"),
		}},
		{"3.3 rules 1 and 20: with what is kept", `[1, {"name": "weekly", "transport": "SSH"}]`, []fault{
			invalid(pre+"name", "Object with this name already exists"),
			invalid(pre+"ssh_credentials", "SSH Credentials are required for non-local replication"),
		}},
		{"3.3 rule 11", `[1, {"direction": "PULL"}]`, []fault{invalid(pre+"direction", "You don't have permissions to use PULL replication")}},
		{"decisions 16", `[1, {"target_dataset": "tank/data/x"}]`, []fault{
			invalid(pre+"target_dataset", "Target 'tank/data/x' and source 'tank/data' are the same dataset or one lies inside the other. Choose a target outside the source"),
		}},
		{"not supported yet", `[1, {"allow_from_scratch": true}]`, []fault{
			invalid(pre+"allow_from_scratch", "This version of zferry does not support this: set it to false; a target that has nothing in common is refused and left as it is"),
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { a.refuses(tasksWriter(), "replication.update", tt.params, tt.want...) })
	}
	a.want(tasksReader(), "replication.query", `[]`, before)
	a.wantEvents()
	// A task may keep its own name, and pull for who has the role.
	a.must(tasksPuller(), "replication.update", `[1, {"name": "nightly", "direction": "PULL"}]`)
}
