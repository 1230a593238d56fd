package methods

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/zferry/zferry/faults"
	"github.com/zferry/zferry/keychain"
	"github.com/zferry/zferry/rpc"
	"github.com/zferry/zferry/rpc/filter"
	"github.com/zferry/zferry/ssh"
)

// The roles of the keychain.
const (
	keychainRead  = "KEYCHAIN_CREDENTIAL_READ"
	keychainWrite = "KEYCHAIN_CREDENTIAL_WRITE"
)

// Keychain registers keychaincredential.* and keychain.setup_ssh. users are the tasks that use connections.
func Keychain(r *rpc.Registry, k *keychain.Service, users keychain.Users, emit func(Event)) {
	read := []string{keychainRead, keychainWrite}
	write := []string{keychainWrite}
	m := keychainMethods{k, users, emit}
	rpc.Register(r, "keychaincredential.query", rpc.Meta{Description: "Key pairs and SSH connections.", Roles: read}, m.query)
	rpc.Register(r, "keychaincredential.get_instance", rpc.Meta{Description: "One of them, by id.", Roles: read}, m.get)
	rpc.Register(r, "keychaincredential.create", rpc.Meta{Description: "Keeps a key pair or an SSH connection.", Roles: write}, m.create)
	rpc.Register(r, "keychaincredential.update", rpc.Meta{Description: "Changes the name of one, or all its attributes. Counts from the next connection on.", Roles: write}, m.update)
	rpc.Register(r, "keychaincredential.used_by", rpc.Meta{Description: "Lists what uses one, and what deleting it with cascade does to that.", Roles: read}, m.usedBy)
	rpc.Register(r, "keychaincredential.get_of_type", rpc.Meta{Description: "One of a type, with its secrets.", Roles: []string{fullAdmin}}, m.ofType)
	rpc.Register(r, "keychaincredential.delete", rpc.Meta{Description: "Removes one. With cascade also the connections that use a key pair; tasks that use a connection are disabled.", Roles: write}, m.delete)
	rpc.Register(r, "keychaincredential.generate_ssh_key_pair", rpc.Meta{Description: "Makes a key pair (RSA, 3072 bits) and gives it back; nothing is kept.", Roles: write}, m.generate)
	rpc.Register(r, "keychaincredential.remote_ssh_host_key_scan", rpc.Meta{Description: "Asks a host for its keys. Compare their fingerprints with those of the host before you trust them.", Roles: write}, m.scan)
	for _, name := range []string{"keychaincredential.setup_ssh_connection", "keychain.setup_ssh"} {
		rpc.Register(r, name, rpc.Meta{Description: "Makes an SSH connection, by hand, with a key pair that exists or is generated. The other system is not contacted.", Roles: write}, m.setUp)
	}
}

type keychainMethods struct {
	keychain *keychain.Service
	users    keychain.Users
	emit     func(Event)
}

type queryArgs struct {
	Filters json.RawMessage `json:"filters" default:"[]" doc:"conditions that all must hold: [field, operator, value]"`
	Options json.RawMessage `json:"options" default:"{}" doc:"select, order_by, count, get, offset, limit, extra"`
}

// answer runs a query over entries.
func answer[T any](args queryArgs, entries []T) (any, error) {
	q, err := filter.Parse(args.Filters, args.Options)
	if err != nil {
		return nil, queryError(err)
	}
	rows, err := filter.Rows(entries)
	if err != nil {
		return nil, err
	}
	found, err := q.Run(rows)
	return found, queryError(err)
}

// credentialEntry is a credential as clients see it.
type credentialEntry struct {
	ID         int64  `json:"id"`
	Name       string `json:"name"`
	Type       string `json:"type"`
	Attributes any    `json:"attributes"` // the text of masked for who may not see them
}

type keyPairAttributes struct {
	PrivateKey *string `json:"private_key" default:"null" long:"true" doc:"PEM: RSA, ECDSA or Ed25519, without a passphrase"`
	PublicKey  *string `json:"public_key" default:"null" long:"true" doc:"a line of authorized_keys; derived from the private key if left out"`
}

type connectionAttributes struct {
	Host           string `json:"host" doc:"name or address"`
	Port           int64  `json:"port" default:"22" doc:"TCP port of its SSH server"`
	Username       string `json:"username" default:"root" doc:"who logs in there"`
	PrivateKey     int64  `json:"private_key" doc:"id of an SSH_KEY_PAIR"`
	RemoteHostKey  string `json:"remote_host_key" long:"true" doc:"lines of type and key that the host may show"`
	ConnectTimeout int64  `json:"connect_timeout" default:"10" doc:"seconds"`
}

// renderCredential shows the attributes only to those who may see them.
func renderCredential(c keychain.Credential, show bool) credentialEntry {
	e := credentialEntry{ID: c.ID, Name: c.Name, Type: string(c.Type), Attributes: masked}
	if !show {
		return e
	}
	if c.Type == keychain.TypeKeyPair {
		e.Attributes = keyPairAttributes{PrivateKey: orNull(c.KeyPair.Private), PublicKey: orNull(c.KeyPair.Public)}
		return e
	}
	e.Attributes = connectionAttributes{
		Host: c.Connection.Host, Port: c.Connection.Port, Username: c.Connection.User, PrivateKey: c.Connection.KeyPair,
		RemoteHostKey: c.Connection.HostKey, ConnectTimeout: c.Connection.ConnectTimeout,
	}
	return e
}

func may(ctx context.Context, roles ...string) bool {
	caller, ok := rpc.CallerOf(ctx)
	return ok && caller.Can(roles...)
}

func (m keychainMethods) query(ctx context.Context, in queryArgs) (any, error) {
	list, err := m.keychain.List(ctx)
	if err != nil {
		return nil, err
	}
	entries := make([]credentialEntry, len(list))
	for i, c := range list {
		entries[i] = renderCredential(c, may(ctx, keychainWrite))
	}
	return answer(in, entries)
}

type idArgs struct {
	ID      int64           `json:"id" doc:"number of the entry"`
	Options instanceOptions `json:"options" default:"{}" doc:"extra options of the query"`
}

type instanceOptions struct {
	Extra map[string]any `json:"extra" default:"{}" doc:"options of the one method"`
}

func (m keychainMethods) get(ctx context.Context, in idArgs) (credentialEntry, error) {
	c, err := m.keychain.Get(ctx, in.ID)
	return renderCredential(c, may(ctx, keychainWrite)), wireError(err, "")
}

type credentialCreateArgs struct {
	Data credentialCreate `json:"keychain_credential_create" doc:"the credential"`
}

// credentialCreate is a new credential. What its attributes are depends on its type.
type credentialCreate struct {
	Name       string          `json:"name" minlen:"1" doc:"no other credential has it"`
	Type       string          `json:"type" enum:"SSH_KEY_PAIR,SSH_CREDENTIALS" doc:"a key pair, or a connection that uses one"`
	Attributes json.RawMessage `json:"attributes" doc:"of a key pair private_key and public_key; of a connection host, port, username, private_key, remote_host_key, connect_timeout"`

	keyPair    keyPairAttributes
	connection connectionAttributes
}

// UnmarshalJSON binds the attributes too, so that their faults come with the others.
func (c *credentialCreate) UnmarshalJSON(data []byte) error {
	type fields credentialCreate
	var bad rpc.ArgErrors
	bound, err := rpc.BindValue[fields]("", data)
	bad = join(bad, err)
	*c = credentialCreate(bound)
	var raw struct {
		Type       any             `json:"type"`
		Attributes json.RawMessage `json:"attributes"`
	}
	if json.Unmarshal(data, &raw) != nil || raw.Attributes == nil {
		return bad.Err()
	}
	switch raw.Type {
	case string(keychain.TypeKeyPair):
		c.keyPair, err = rpc.BindValue[keyPairAttributes]("attributes", raw.Attributes)
	case string(keychain.TypeConnection):
		c.connection, err = rpc.BindValue[connectionAttributes]("attributes", raw.Attributes)
	default:
		err = nil
	}
	bad = join(bad, err)
	return bad.Err()
}

func (m keychainMethods) create(ctx context.Context, in credentialCreateArgs) (credentialEntry, error) {
	c := keychain.Credential{Name: in.Data.Name, Type: keychain.Type(in.Data.Type)}
	if c.Type == keychain.TypeKeyPair {
		c.KeyPair = keychain.KeyPair{Private: text(in.Data.keyPair.PrivateKey), Public: text(in.Data.keyPair.PublicKey)}
	} else {
		c.Connection = connection(in.Data.connection)
	}
	c, err := m.keychain.Create(ctx, c)
	if err != nil {
		return credentialEntry{}, wireError(err, "keychain_credential_create")
	}
	m.added(c)
	return renderCredential(c, true), nil
}

func (m keychainMethods) added(c keychain.Credential) {
	m.emit(Event{Name: "keychaincredential.query", Msg: "added", ID: c.ID, Fields: renderCredential(c, false), Roles: []string{keychainRead, keychainWrite}})
}

func connection(a connectionAttributes) keychain.Connection {
	return keychain.Connection{Host: a.Host, Port: a.Port, User: a.Username, KeyPair: a.PrivateKey, HostKey: a.RemoteHostKey, ConnectTimeout: a.ConnectTimeout}
}

func text(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

type credentialDeleteArgs struct {
	ID      int64 `json:"id" doc:"number of the credential"`
	Options struct {
		Cascade bool `json:"cascade" default:"false" doc:"also what uses a key pair"`
	} `json:"options" default:"{}" doc:"how far it goes"`
}

func (m keychainMethods) delete(ctx context.Context, in credentialDeleteArgs) (any, error) {
	removed, err := m.keychain.Delete(ctx, in.ID, in.Options.Cascade, m.users)
	for _, id := range removed {
		m.emit(Event{Name: "keychaincredential.query", Msg: "removed", ID: id, Roles: []string{keychainRead, keychainWrite}})
	}
	if err != nil {
		return nil, wireError(err, "")
	}
	return nil, nil //nolint:nilnil // the API answers null
}

func (m keychainMethods) generate(context.Context, struct{}) (keyPairAttributes, error) {
	private, public, err := ssh.GenerateKeyPair(ssh.RSA)
	return keyPairAttributes{PrivateKey: orNull(string([]byte(private))), PublicKey: orNull(public)}, err
}

type scanArgs struct {
	Scan struct {
		Host           string `json:"host" minlen:"1" doc:"name or address"`
		Port           int64  `json:"port" default:"22" doc:"TCP port of its SSH server"`
		ConnectTimeout int64  `json:"connect_timeout" default:"10" doc:"seconds"`
	} `json:"keychain_remote_ssh_host_key_scan" doc:"whom to ask"`
}

func (m keychainMethods) scan(ctx context.Context, in scanArgs) (string, error) {
	var bad faults.List
	keychain.CheckHost(&bad, "host", in.Scan.Host)
	keychain.CheckPort(&bad, "port", in.Scan.Port)
	keychain.CheckTimeout(&bad, "connect_timeout", in.Scan.ConnectTimeout)
	if err := bad.Err(); err != nil {
		return "", wireError(err, "keychain_remote_ssh_host_key_scan")
	}
	timeout := time.Duration(in.Scan.ConnectTimeout) * time.Second
	lines, err := ssh.ScanHostKeys(ctx, ssh.Config{Host: in.Scan.Host, Port: int(in.Scan.Port), ConnectTimeout: timeout, LoginTimeout: timeout})
	switch {
	case errors.Is(err, ssh.ErrTimeout):
		return "", rpc.Errorf(rpc.EFAULT, "SSH timeout")
	case err != nil:
		return "", rpc.Errorf(rpc.EFAULT, "ssh-keyscan failed: %v", err)
	}
	return strings.Join(lines, "\n"), nil
}
