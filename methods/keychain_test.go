package methods_test

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/zferry/zferry/rpc"
	"github.com/zferry/zferry/ssh"
	"github.com/zferry/zferry/testing/sshd"
)

const maskedText = `"********"`

// TestKeychainEntries holds 4.1: the shape of entries, in its order, and that attributes are shown to holders of the write
// role alone.
func TestKeychainEntries(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	pair, connection := a.withConnection()
	for name, who := range map[string]rpc.Caller{"admin": admin(), "writer": keysWriter()} {
		t.Run(name, func(t *testing.T) {
			a.want(who, "keychaincredential.get_instance", `[1]`, `{"id": 1, "name": "key", "type": "SSH_KEY_PAIR", "attributes": `+pair+`}`)
			a.want(who, "keychaincredential.get_instance", `[2, {"extra": {}}]`, `{"id": 2, "name": "nas2", "type": "SSH_CREDENTIALS", "attributes": `+connection+`}`)
			a.want(who, "keychaincredential.query", `[]`, `[
				{"id": 1, "name": "key", "type": "SSH_KEY_PAIR", "attributes": `+pair+`},
				{"id": 2, "name": "nas2", "type": "SSH_CREDENTIALS", "attributes": `+connection+`}]`)
		})
	}
	// Roles of other services show nothing.
	for name, who := range map[string]rpc.Caller{"reader": keysReader(), "of tasks": holder(tasksRead, tasksWrite, tasksPulled), "nobody": {}} {
		t.Run(name, func(t *testing.T) {
			a.want(who, "keychaincredential.get_instance", `[1]`, `{"id": 1, "name": "key", "type": "SSH_KEY_PAIR", "attributes": `+maskedText+`}`)
			a.want(who, "keychaincredential.query", `[]`, `[
				{"id": 1, "name": "key", "type": "SSH_KEY_PAIR", "attributes": `+maskedText+`},
				{"id": 2, "name": "nas2", "type": "SSH_CREDENTIALS", "attributes": `+maskedText+`}]`)
			// What is masked cannot be found out by asking.
			a.want(who, "keychaincredential.query", `[[["attributes.host", "=", "nas2.example"]]]`, `[]`)
			a.want(who, "keychaincredential.query", `[[["attributes.private_key", "~", ".*BEGIN"]], {"count": true}]`, `0`)
		})
	}
	entry := a.must(admin(), "keychaincredential.get_instance", `[2]`)
	wantKeys(t, "4.1", entry, "id", "name", "type", "attributes")
	wantKeys(t, "4.1", at(t, entry, "attributes"), "host", "port", "username", "private_key", "remote_host_key", "connect_timeout")
	wantKeys(t, "4.1", at(t, a.must(admin(), "keychaincredential.get_instance", `[1]`), "attributes"), "private_key", "public_key")
}

func wantKeys(t *testing.T, what, text string, want ...string) {
	t.Helper()
	if got := keysOf(t, text); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: keys\n%v, want\n%v", what, got, want)
	}
}

// TestKeychainQuery holds 2.7, 2.8 and 1.3 as far as the methods see them.
func TestKeychainQuery(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.withConnection()
	const q = "keychaincredential.query"
	a.want(admin(), q, `[[["type", "=", "SSH_CREDENTIALS"]], {"select": ["id", "attributes.host"]}]`, `[{"id": 2, "attributes": {"host": "nas2.example"}}]`)
	a.want(admin(), q, `[[], {"count": true}]`, `2`)
	a.want(admin(), q, `[[], {"order_by": ["-id"], "limit": 1, "select": ["id", "name"]}]`, `[{"id": 2, "name": "nas2"}]`)
	a.want(admin(), q, `[[["name", "=", "key"]], {"get": true, "select": ["id"]}]`, `{"id": 1}`)
	a.want(admin(), q, `[[["name", "=", "none"]]]`, `[]`)

	_, err := a.call(admin(), q, `[[["name", "=", "none"]], {"get": true}]`)
	wantJSON(t, "1.3: MatchNotFound", `{"error": 22, "errname": "EINVAL", "reason": "MatchNotFound()", "extra": null,
		"trace": {"class": "MatchNotFound", "formatted": "MatchNotFound()", "repr": "MatchNotFound()"}}`, string(rpc.ToWire(err).Data))
	if code := rpc.ToWire(err).Code; code != rpc.CodeCall {
		t.Errorf("1.3: MatchNotFound has the code %d", code)
	}
	a.refuses(admin(), q, `[[["name", "??", 1]]]`, invalid("filters", "Value error, filter_list: unknown operator '??'"))
	a.fails(admin(), q, `[[["name", ">", 1]]]`, rpc.EINVAL, "'>' not supported between instances of 'str' and 'int'")
	_, err = a.call(admin(), q, `[[], {"nonsense": 1, "limit": -1}]`)
	e := rpc.ToWire(err)
	if e.Code != rpc.CodeInvalidParams || !strings.Contains(string(e.Data), "Extra inputs are not permitted") || !strings.Contains(string(e.Data), "greater than or equal to 0") {
		t.Errorf("2.8: %d %s", e.Code, e.Data)
	}
}

// TestKeychainUnknownIDs holds 1.3 for ids that name nothing, and 1.4 for what is no id.
func TestKeychainUnknownIDs(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	missing := fault{"null", "KeychainCredential 7 does not exist", 2}
	a.refuses(admin(), "keychaincredential.get_instance", `[7]`, missing)
	a.refuses(admin(), "keychaincredential.delete", `[7]`, missing)
	a.refuses(admin(), "keychaincredential.delete", `[7, {"cascade": true}]`, missing)
	a.refuses(admin(), "keychaincredential.get_instance", `["7"]`, invalid("id", "Input should be a valid integer"))
	a.refuses(admin(), "keychaincredential.get_instance", `[]`, invalid("id", "Field required"))
	a.refuses(admin(), "keychaincredential.delete", `[true, {"cascade": 1, "force": true}]`,
		invalid("id", "Input should be a valid integer"), invalid("options.cascade", "Input should be a valid boolean"),
		invalid("options.force", "Extra inputs are not permitted"))
	a.wantEvents()
}

// TestKeychainCreate holds 4.2 and 4.3: the entry that comes back, the event, and the defaults.
func TestKeychainCreate(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	private, public := key(t, "rsa", "")
	a.want(keysWriter(), "keychaincredential.create",
		`[{"name": "key", "type": "SSH_KEY_PAIR", "attributes": {"private_key": `+quoted(private)+`, "public_key": null}}]`,
		`{"id": 1, "name": "key", "type": "SSH_KEY_PAIR", "attributes": {"private_key": `+quoted(private)+`, "public_key": `+quoted(public)+`}}`)
	events := a.wantEvents("keychaincredential.query added 1")
	wantJSON(t, "2.3: event", `{"id": 1, "name": "key", "type": "SSH_KEY_PAIR", "attributes": `+maskedText+`}`, fieldsOf(t, events[0]))

	a.want(keysWriter(), "keychaincredential.create",
		`[{"name": "lone", "type": "SSH_KEY_PAIR", "attributes": {"public_key": `+quoted(public)+`}}]`,
		`{"id": 2, "name": "lone", "type": "SSH_KEY_PAIR", "attributes": {"private_key": null, "public_key": `+quoted(public)+`}}`)
	long := strings.Repeat(hostKey+`\n`, 30) // decisions 28: more than 1024 characters
	a.want(keysWriter(), "keychaincredential.create",
		`[{"name": "nas2", "type": "SSH_CREDENTIALS", "attributes": {"host": "nas2", "private_key": 1, "remote_host_key": "`+long+`"}}]`,
		`{"id": 3, "name": "nas2", "type": "SSH_CREDENTIALS", "attributes": {"host": "nas2", "port": 22, "username": "root", "private_key": 1,
			"remote_host_key": "`+long+`", "connect_timeout": 10}}`)
	a.wantEvents("keychaincredential.query added 2", "keychaincredential.query added 3")
}

// TestKeychainCreateFaults holds 1.4 and 4.3: attribute, text, all at once, and that nothing is kept or told.
func TestKeychainCreateFaults(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.withConnection()
	private, public := key(t, "ecdsa", "")
	locked, _ := key(t, "ed25519", "secret words")
	const (
		pre      = "keychain_credential_create."
		required = "Field required"
		extra    = "Extra inputs are not permitted"
		text     = "Input should be a valid string"
	)
	for name, tt := range map[string]struct {
		params string
		want   []fault
	}{
		"nothing":       {`[]`, []fault{invalid("keychain_credential_create", required)}},
		"null":          {`[null]`, []fault{invalid("keychain_credential_create", "Input should be a valid dictionary")}},
		"empty":         {`[{}]`, []fault{invalid(pre+"name", required), invalid(pre+"type", required), invalid(pre+"attributes", required)}},
		"unknown type":  {`[{"name": "x", "type": "SFTP", "attributes": {}}]`, []fault{invalid(pre+"type", "Input should be 'SSH_KEY_PAIR' or 'SSH_CREDENTIALS'")}},
		"no attributes": {`[{"name": "x", "type": "SSH_KEY_PAIR", "attributes": null}]`, []fault{invalid(pre+"attributes", "Input should be a valid dictionary")}},
		"everything, key pair": {
			`[{"name": "", "type": "SSH_KEY_PAIR", "attributes": {"private_key": 1, "host": "x"}, "id": 1}]`,
			[]fault{
				invalid(pre+"name", "String should have at least 1 character"), invalid(pre+"id", extra),
				invalid(pre+"attributes.private_key", text), invalid(pre+"attributes.host", extra),
			},
		},
		"everything, connection": {
			`[{"name": 5, "type": "SSH_CREDENTIALS", "attributes": {"port": "22", "username": null, "private_key": "1", "public_key": "x"}}]`,
			[]fault{
				invalid(pre+"name", text), invalid(pre+"attributes.host", required), invalid(pre+"attributes.port", "Input should be a valid integer"),
				invalid(pre+"attributes.username", text), invalid(pre+"attributes.private_key", "Input should be a valid integer"),
				invalid(pre+"attributes.remote_host_key", required), invalid(pre+"attributes.public_key", extra),
			},
		},
		"4.3 rule 1":            {`[{"name": "nas2", "type": "SSH_KEY_PAIR", "attributes": {}}]`, []fault{invalid(pre+"name", "Object with this name already exists")}},
		"4.3 rule 2: encrypted": {`[{"name": "x", "type": "SSH_KEY_PAIR", "attributes": {"private_key": ` + quoted(locked) + `}}]`, []fault{invalid(pre+"attributes.private_key", "Encrypted private keys are not allowed")}},
		"4.3 rule 2: no match":  {`[{"name": "x", "type": "SSH_KEY_PAIR", "attributes": {"private_key": ` + quoted(private) + `, "public_key": "` + hostKey + `"}}]`, []fault{invalid(pre+"attributes.public_key", "Private key and public key do not match")}},
		"4.3 rule 2: no key":    {`[{"name": "x", "type": "SSH_KEY_PAIR", "attributes": {}}]`, []fault{invalid(pre+"attributes.public_key", "You must specify a key")}},
		"4.3 rule 2: invalid":   {`[{"name": "x", "type": "SSH_KEY_PAIR", "attributes": {"public_key": ` + quoted(public+public) + `}}]`, []fault{invalid(pre+"attributes.public_key", "Invalid public key")}},
		"decisions 28": {
			`[{"name": "x", "type": "SSH_CREDENTIALS", "attributes": {"host": "https://nas3/ui", "port": 0, "username": "", "private_key": 2, "remote_host_key": "", "connect_timeout": 0}}]`,
			[]fault{
				invalid(pre+"attributes.host", "This is a URL: give only the name or address of the host, such as nas3"),
				invalid(pre+"attributes.port", "There is no port 0: give one between 1 and 65535"),
				invalid(pre+"attributes.username", "This is not the name of a user"),
				invalid(pre+"attributes.connect_timeout", "Give a time between 1 and 3600 seconds"),
				invalid(pre+"attributes.private_key", "Credential 'nas2' is not a key pair"),
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			a.refuses(keysWriter(), "keychaincredential.create", tt.params, tt.want...)
		})
	}
	a.want(admin(), "keychaincredential.query", `[[], {"count": true}]`, `2`)
	a.wantEvents()
}

// A discriminator may be written with escapes: what it says counts.
func TestKeychainCreateEscapedType(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	_, public := key(t, "ed25519", "")
	a.must(keysWriter(), "keychaincredential.create", `[{"name": "key", "type": "\u0053SH_KEY_PAIR", "attributes": {"public_key": `+quoted(public)+`}}]`)
}

// TestKeychainDelete holds 4.4 and, for the events, decisions 30: one for everything that goes, and for each task that is
// changed by it.
func TestKeychainDelete(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.withConnection()
	a.must(admin(), "replication.create", createPush(`"name": "nightly", "ssh_credentials": 2`))
	a.wantEvents("replication.query added 1")
	used := invalid("options.cascade", "This credential is used and no cascade option is specified")
	for _, id := range []string{"1", "2"} {
		a.refuses(keysWriter(), "keychaincredential.delete", "["+id+"]", used)
		a.refuses(keysWriter(), "keychaincredential.delete", "["+id+`, {"cascade": false}]`, used)
	}
	a.wantEvents()
	a.want(keysWriter(), "keychaincredential.delete", `[1, {"cascade": true}]`, `null`)
	events := a.wantEvents("replication.query changed 1", "keychaincredential.query removed 2", "keychaincredential.query removed 1")
	fields := fieldsOf(t, events[0])
	if at(t, fields, "enabled") != "false" || at(t, fields, "ssh_credentials") != "null" || at(t, fields, "state.state") != `"HOLD"` {
		t.Errorf("4.4: event %s", fields)
	}
	a.want(admin(), "keychaincredential.query", `[]`, `[]`)
	entry := a.must(admin(), "replication.get_instance", `[1]`)
	wantJSON(t, "4.4: state", `"You should pass SSH credentials for SSH transport."`, at(t, entry, "state.reason"))
}

// TestGenerateKeyPair holds 4.5: an RSA key pair, both texts end with a newline, and nothing is kept.
func TestGenerateKeyPair(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	result := a.must(keysWriter(), "keychaincredential.generate_ssh_key_pair", `[]`)
	wantKeys(t, "4.5", result, "private_key", "public_key")
	private, public := decoded(t, at(t, result, "private_key")).(string), decoded(t, at(t, result, "public_key")).(string)
	derived, err := ssh.PublicKeyOf(ssh.PrivateKey(private))
	if err != nil || derived != public || !strings.HasPrefix(public, "ssh-rsa ") || !strings.HasSuffix(private, "-----\n") || !strings.HasSuffix(public, "\n") {
		t.Errorf("4.5: public key %q, %v", public, err)
	}
	a.want(admin(), "keychaincredential.query", `[]`, `[]`)
	a.wantEvents()
}

// TestScan holds 4.5: a line for each key without host names, and the errors.
func TestScan(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	server := sshd.Start(t, sshd.Options{})
	const m, pre = "keychaincredential.remote_ssh_host_key_scan", "keychain_remote_ssh_host_key_scan."
	got := decoded(t, a.must(keysWriter(), m, fmt.Sprintf(`[{"host": "127.0.0.1", "port": %d}]`, server.Port))).(string)
	lines := strings.Split(got, "\n")
	if len(lines) != 3 {
		t.Errorf("4.5: scan gives %q", got)
	}
	for _, keyType := range sshd.KeyTypes() {
		if !strings.Contains("\n"+got+"\n", "\n"+server.HostKeyLine(keyType)+"\n") {
			t.Errorf("4.5: scan misses %s: %q", keyType, got)
		}
	}
	a.refuses(keysWriter(), m, `[{"host": "", "port": "22"}]`,
		invalid(pre+"host", "String should have at least 1 character"), invalid(pre+"port", "Input should be a valid integer"))
	a.refuses(keysWriter(), m, `[{"host": "ssh://nas2", "port": 65536, "connect_timeout": -1}]`,
		invalid(pre+"host", "This is a URL: give only the name or address of the host, such as nas2"),
		invalid(pre+"port", "There is no port 65536: give one between 1 and 65535"),
		invalid(pre+"connect_timeout", "Give a time between 1 and 3600 seconds"))

	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	port := silent.Addr().(*net.TCPAddr).Port
	a.fails(keysWriter(), m, fmt.Sprintf(`[{"host": "127.0.0.1", "port": %d, "connect_timeout": 1}]`, port), rpc.EFAULT, "[EFAULT] SSH timeout")
	a.fails(keysWriter(), m, `[{"host": "127.0.0.1", "port": 1}]`, rpc.EFAULT,
		"[EFAULT] ssh-keyscan failed: 127.0.0.1:1: connection refused: no SSH server listens on this port there")
}
