package methods_test

import (
	"strings"
	"testing"
)

// setups are the two names of the method.
func setups() []string {
	return []string{"keychaincredential.setup_ssh_connection", "keychain.setup_ssh"}
}

// TestSetUp holds 4.7 with both values of generate_key: the entry that comes back, what is kept, and the events (decisions 30).
func TestSetUp(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.must(admin(), "keychaincredential.create", `[{"name": "key", "type": "SSH_KEY_PAIR", "attributes": {"private_key": `+func() string { p, _ := key(t, "ed25519", ""); return quoted(p) }()+`}}]`)
	a.events.take()
	const manual = `"setup_type": "MANUAL", "manual_setup": {"host": "nas2.example", "port": 2222, "username": "zferry", "remote_host_key": "` + hostKey + `", "connect_timeout": 5}`
	a.want(keysWriter(), setups()[0],
		`[{"private_key": {"generate_key": false, "existing_key_id": 1}, "connection_name": "nas2", `+manual+`, "semi_automatic_setup": null}]`,
		`{"id": 2, "name": "nas2", "type": "SSH_CREDENTIALS", "attributes": {"host": "nas2.example", "port": 2222, "username": "zferry", "private_key": 1,
			"remote_host_key": "`+hostKey+`", "connect_timeout": 5}}`)
	events := a.wantEvents("keychaincredential.query added 2")
	wantJSON(t, "2.3: event", `{"id": 2, "name": "nas2", "type": "SSH_CREDENTIALS", "attributes": `+maskedText+`}`, fieldsOf(t, events[0]))

	a.want(keysWriter(), setups()[1],
		`[{"private_key": {"generate_key": true, "name": "nas3 key"}, "connection_name": "nas3", "setup_type": "MANUAL", "manual_setup": {"host": "nas3", "remote_host_key": "?"}}]`,
		`{"id": 4, "name": "nas3", "type": "SSH_CREDENTIALS", "attributes": {"host": "nas3", "port": 22, "username": "root", "private_key": 3, "remote_host_key": "?", "connect_timeout": 10}}`)
	a.wantEvents("keychaincredential.query added 3", "keychaincredential.query added 4")
	made := a.must(admin(), "keychaincredential.get_instance", `[3]`)
	if at(t, made, "name") != `"nas3 key"` || !strings.Contains(at(t, made, "attributes.private_key"), "PRIVATE KEY") {
		t.Errorf("4.7: generated %s", made)
	}
}

// TestSetUpFaults holds 1.4 and 4.7: attribute, text, all at once, and that nothing is kept or told.
func TestSetUpFaults(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.withConnection()
	const (
		required = "Field required"
		extra    = "Extra inputs are not permitted"
		text     = "Input should be a valid string"
		number   = "Input should be a valid integer"
		empty    = "String should have at least 1 character"
		object   = "Input should be a valid dictionary"
		existing = `"private_key": {"generate_key": false, "existing_key_id": 1}`
		good     = `"setup_type": "MANUAL", "manual_setup": {"host": "nas3", "remote_host_key": "x"}`
		named    = `"connection_name": "nas3"`
		pre      = "setup_ssh_connection."
	)
	tests := []struct {
		name, options string
		want          []fault
	}{
		{"nothing", `{}`, []fault{
			invalid("options.private_key", required), invalid("options.connection_name", required), invalid("options.setup_type", required),
		}},
		{"no object", `"x"`, []fault{invalid("options", object)}},
		{"no generate_key", `{"private_key": {}, ` + named + `, ` + good + `}`, []fault{invalid("options.private_key.generate_key", required)}},
		{"generate_key is no boolean", `{"private_key": {"generate_key": "yes", "name": "x"}, ` + named + `, ` + good + `}`, []fault{invalid("options.private_key.generate_key", "Input should be a valid boolean")}},
		{"private_key is no object", `{"private_key": null, ` + named + `, ` + good + `}`, []fault{invalid("options.private_key", object)}},
		{"generated, without a name", `{"private_key": {"generate_key": true}, ` + named + `, ` + good + `}`, []fault{invalid("options.private_key.name", required)}},
		{"generated, with an id", `{"private_key": {"generate_key": true, "name": "", "existing_key_id": 1}, ` + named + `, ` + good + `}`, []fault{
			invalid("options.private_key.name", empty), invalid("options.private_key.existing_key_id", extra),
		}},
		{"existing, without an id", `{"private_key": {"generate_key": false}, ` + named + `, ` + good + `}`, []fault{invalid("options.private_key.existing_key_id", required)}},
		{"existing, with a name", `{"private_key": {"generate_key": false, "existing_key_id": "1", "name": "x"}, ` + named + `, ` + good + `}`, []fault{
			invalid("options.private_key.existing_key_id", number), invalid("options.private_key.name", extra),
		}},
		{"unknown setup_type", `{` + existing + `, ` + named + `, "setup_type": "AUTOMATIC"}`, []fault{
			invalid("options.setup_type", "Input should be 'MANUAL' or 'SEMI-AUTOMATIC'"),
		}},
		{"MANUAL without manual_setup", `{` + existing + `, ` + named + `, "setup_type": "MANUAL", "manual_setup": null}`, []fault{invalid("options.manual_setup", required)}},
		{"MANUAL with the other setup", `{` + existing + `, ` + named + `, ` + good + `, "semi_automatic_setup": {"url": "http://nas3"}}`, []fault{
			invalid("options.semi_automatic_setup", extra),
		}},
		{"MANUAL with a key pair", `{` + existing + `, ` + named + `, "setup_type": "MANUAL", "manual_setup": {"host": 1, "private_key": 1}}`, []fault{
			invalid("options.manual_setup.host", text), invalid("options.manual_setup.remote_host_key", required), invalid("options.manual_setup.private_key", extra),
		}},
		{"SEMI-AUTOMATIC", `{` + existing + `, ` + named + `, "setup_type": "SEMI-AUTOMATIC", "semi_automatic_setup": {"url": "http://nas3"}}`, []fault{
			invalid("options.setup_type", "This version of zferry does not support this: choose MANUAL"),
		}},
		{"SEMI-AUTOMATIC with the other setup", `{` + existing + `, ` + named + `, "setup_type": "SEMI-AUTOMATIC", "manual_setup": {"host": "x", "remote_host_key": "x"}}`, []fault{
			invalid("options.setup_type", "This version of zferry does not support this: choose MANUAL"), invalid("options.manual_setup", extra),
		}},
		{"all of the model", `{"private_key": {"generate_key": true}, "connection_name": "", "setup_type": "MANUAL", "manual_setup": {"port": "x"}, "semi_automatic_setup": {}, "more": 1}`, []fault{
			invalid("options.private_key.name", required), invalid("options.connection_name", empty),
			invalid("options.manual_setup.host", required), invalid("options.manual_setup.port", number), invalid("options.manual_setup.remote_host_key", required),
			invalid("options.more", extra), invalid("options.semi_automatic_setup", extra),
		}},
		{"4.7: key name taken", `{"private_key": {"generate_key": true, "name": "nas2"}, ` + named + `, ` + good + `}`, []fault{
			invalid(pre+"private_key.name", "Is already in use by another SSH Key pair"),
		}},
		{"4.7: no such pair", `{"private_key": {"generate_key": false, "existing_key_id": 9}, ` + named + `, ` + good + `}`, []fault{
			invalid(pre+"private_key.existing_key_id", "SSH Key Pair not found"),
		}},
		{"4.7: connection name taken", `{` + existing + `, "connection_name": "key", ` + good + `}`, []fault{
			invalid(pre+"connection_name", "Is already in use by another Keychain Credential"),
		}},
		{"4.7: all rules", `{"private_key": {"generate_key": true, "name": "key"}, "connection_name": "nas2", "setup_type": "MANUAL", "manual_setup": {"host": "http://nas3", "port": 0, "username": "a b", "remote_host_key": "", "connect_timeout": 0}}`, []fault{
			invalid(pre+"private_key.name", "Is already in use by another SSH Key pair"),
			invalid(pre+"connection_name", "Is already in use by another Keychain Credential"),
			invalid(pre+"manual_setup.host", "This is a URL: give only the name or address of the host, such as nas3"),
			invalid(pre+"manual_setup.port", "There is no port 0: give one between 1 and 65535"),
			invalid(pre+"manual_setup.username", "This is not the name of a user"),
			invalid(pre+"manual_setup.connect_timeout", "Give a time between 1 and 3600 seconds"),
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, method := range setups() {
				a.refuses(keysWriter(), method, "["+tt.options+"]", tt.want...)
			}
		})
	}
	a.want(admin(), "keychaincredential.query", `[[], {"count": true}]`, `2`)
	a.wantEvents()
}
