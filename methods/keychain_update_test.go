package methods_test

import (
	"strings"
	"testing"

	"github.com/zferry/zferry/rpc"
)

// TestKeychainUpdate holds 4.3: what is not given stays, attributes are replaced as a whole, and the event masks them.
func TestKeychainUpdate(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	pair, connection := a.withConnection()
	a.events.take()
	who := keysWriter()
	a.want(who, "keychaincredential.update", `[2, {}]`, `{"id": 2, "name": "nas2", "type": "SSH_CREDENTIALS", "attributes": `+connection+`}`)
	a.want(who, "keychaincredential.update", `[2, {"name": "nas3"}]`, `{"id": 2, "name": "nas3", "type": "SSH_CREDENTIALS", "attributes": `+connection+`}`)
	other := strings.Replace(connection, "nas2.example", "nas3.example", 1)
	a.want(who, "keychaincredential.update", `[2, {"attributes": `+other+`}]`, `{"id": 2, "name": "nas3", "type": "SSH_CREDENTIALS", "attributes": `+other+`}`)
	a.want(who, "keychaincredential.get_instance", `[2]`, `{"id": 2, "name": "nas3", "type": "SSH_CREDENTIALS", "attributes": `+other+`}`)
	events := a.wantEvents("keychaincredential.query changed 2", "keychaincredential.query changed 2", "keychaincredential.query changed 2")
	wantJSON(t, "2.3: attributes", `"********"`, at(t, fieldsOf(t, events[2]), "attributes"))
	name := at(t, a.must(who, "keychaincredential.get_instance", `[1]`), "name")
	private, public := key(t, "ed25519", "")
	a.want(who, "keychaincredential.update", `[1, {"attributes": {"private_key": `+quoted(private)+`}}]`,
		`{"id": 1, "name": `+name+`, "type": "SSH_KEY_PAIR", "attributes": {"private_key": `+quoted(private)+`, "public_key": `+quoted(withoutComment(public))+`}}`)
	a.want(who, "keychaincredential.update", `[1, {"attributes": `+pair+`}]`, `{"id": 1, "name": `+name+`, "type": "SSH_KEY_PAIR", "attributes": `+pair+`}`)
}

// withoutComment is a public key as it is derived.
func withoutComment(public string) string {
	f := strings.Fields(public)
	return f[0] + " " + f[1] + "\n"
}

// TestKeychainUpdateFaults holds 4.3: a prefix for the model, another for the rules, and nothing changed or told.
func TestKeychainUpdateFaults(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	_, connection := a.withConnection()
	a.events.take()
	before := a.must(keysWriter(), "keychaincredential.query", `[]`)
	first := at(t, a.must(keysWriter(), "keychaincredential.get_instance", `[1]`), "name")
	const model, rule, extra = "keychain_credential_update.", "keychain_credentials_update.", "Extra inputs are not permitted"
	for name, tt := range map[string]struct {
		params string
		want   []fault
	}{
		"1.3":  {`[9, {"name": "x"}]`, []fault{{"null", "KeychainCredential 9 does not exist", 2}}},
		"type": {`[1, {"type": "SSH_KEY_PAIR", "name": ""}]`, []fault{invalid(model+"name", "String should have at least 1 character"), invalid(model+"type", extra)}},
		"no patch": {`[2, {"attributes": {"port": "22"}}]`, []fault{
			invalid(model+"attributes.host", "Field required"), invalid(model+"attributes.port", "Input should be a valid integer"),
			invalid(model+"attributes.private_key", "Field required"), invalid(model+"attributes.remote_host_key", "Field required"),
		}},
		"of the other type": {`[1, {"attributes": {"host": "x"}}]`, []fault{invalid(model+"attributes.host", extra)}},
		"rule 1":            {`[2, {"name": ` + first + `}]`, []fault{invalid(rule+"name", "Object with this name already exists")}},
		"rule 2":            {`[1, {"attributes": {}}]`, []fault{invalid(rule+"attributes.public_key", "You must specify a key")}},
		"decisions 28":      {`[2, {"attributes": ` + strings.Replace(connection, `"private_key": 1`, `"private_key": 9`, 1) + `}]`, []fault{invalid(rule+"attributes.private_key", "SSH Key Pair not found")}},
	} {
		t.Run("4.3 "+name, func(t *testing.T) { a.refuses(keysWriter(), "keychaincredential.update", tt.params, tt.want...) })
	}
	a.want(keysWriter(), "keychaincredential.query", `[]`, before)
	a.wantEvents()
	a.must(keysWriter(), "keychaincredential.update", `[2, {"name": "nas2"}]`) // its own name is free to it
}

// TestKeychainUsedBy holds 4.4: what uses a key pair, each connection followed by its own users.
func TestKeychainUsedBy(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.withConnection()
	a.want(keysReader(), "keychaincredential.used_by", `[2]`, `[]`)
	a.must(admin(), "replication.create", createPush(`"name": "nightly", "ssh_credentials": 2`))
	task := `{"title": "Replication task nightly", "unbind_method": "disable"}`
	a.want(keysReader(), "keychaincredential.used_by", `[2]`, `[`+task+`]`)
	a.want(keysReader(), "keychaincredential.used_by", `[1]`, `[{"title": "SSH credentials nas2", "unbind_method": "delete"}, `+task+`]`)
	a.refuses(keysReader(), "keychaincredential.used_by", `[9]`, fault{"null", "KeychainCredential 9 does not exist", 2})
}

// TestKeychainOfType holds 4.5.
func TestKeychainOfType(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	_, connection := a.withConnection()
	a.want(admin(), "keychaincredential.get_of_type", `[2, "SSH_CREDENTIALS"]`, `{"id": 2, "name": "nas2", "type": "SSH_CREDENTIALS", "attributes": `+connection+`}`)
	a.fails(admin(), "keychaincredential.get_of_type", `[9, "SSH_CREDENTIALS"]`, rpc.ENOENT, "[ENOENT] Credential does not exist")
	a.fails(admin(), "keychaincredential.get_of_type", `[2, "SSH_KEY_PAIR"]`, rpc.EINVAL, "[EINVAL] Credential is not of type SSH_KEY_PAIR")
}
