package methods

import (
	"context"
	"encoding/json"

	"github.com/zferry/zferry/keychain"
	"github.com/zferry/zferry/rpc"
)

type setupArgs struct {
	Options setupOptions `json:"options" doc:"the connection"`
}

// setupOptions is a setup (truenas-api.md 4.7). So far only what a user gives by hand is taken.
type setupOptions struct {
	PrivateKey     setupKey        `json:"private_key" doc:"generate_key with the name of a new key pair, or existing_key_id"`
	ConnectionName string          `json:"connection_name" minlen:"1" doc:"no other credential has it"`
	SetupType      string          `json:"setup_type" enum:"MANUAL,SEMI-AUTOMATIC" doc:"which of the two members below counts"`
	Manual         *manualSetup    `json:"manual_setup" default:"null" doc:"host, port, username, remote_host_key"`
	SemiAutomatic  json.RawMessage `json:"semi_automatic_setup" default:"null" doc:"how to log in to the API of the other system"`
}

type manualSetup struct {
	Host           string `json:"host" doc:"name or address"`
	Port           int64  `json:"port" default:"22" doc:"TCP port of its SSH server"`
	Username       string `json:"username" default:"root" doc:"who logs in there"`
	RemoteHostKey  string `json:"remote_host_key" long:"true" doc:"lines of type and key that the host may show"`
	ConnectTimeout int64  `json:"connect_timeout" default:"10" doc:"seconds"`
}

// UnmarshalJSON checks what the type of the setup asks for too, so that all faults come together.
func (o *setupOptions) UnmarshalJSON(data []byte) error {
	type fields setupOptions
	var bad rpc.ArgErrors
	bound, err := rpc.BindValue[fields]("", data)
	bad = join(bad, err)
	*o = setupOptions(bound)
	var raw struct {
		SetupType     any             `json:"setup_type"`
		Manual        json.RawMessage `json:"manual_setup"`
		SemiAutomatic json.RawMessage `json:"semi_automatic_setup"`
	}
	if json.Unmarshal(data, &raw) != nil {
		return bad.Err()
	}
	other, given := "semi_automatic_setup", raw.SemiAutomatic
	switch raw.SetupType {
	case "MANUAL":
		if !present(raw.Manual) {
			bad.Add("manual_setup", "Field required")
		}
	case "SEMI-AUTOMATIC":
		bad.Add("setup_type", "This version of zferry does not support this: choose MANUAL")
		other, given = "manual_setup", raw.Manual
	default:
		given = nil
	}
	if present(given) {
		bad.Add(other, "Extra inputs are not permitted")
	}
	return bad.Err()
}

func present(value json.RawMessage) bool { return len(value) > 0 && string(value) != "null" }

// setupKey is the key pair of a setup: one that is generated, or one that exists.
type setupKey struct {
	Generate bool   `json:"generate_key"`
	Name     string `json:"name,omitempty" doc:"of the key pair that is generated"`
	ID       int64  `json:"existing_key_id,omitempty" doc:"of the key pair to use if none is generated"`
}

// What generate_key decides between.
type (
	generatedKey struct {
		Generate bool   `json:"generate_key"`
		Name     string `json:"name" minlen:"1"`
	}
	existingKey struct {
		Generate bool  `json:"generate_key"`
		ID       int64 `json:"existing_key_id"`
	}
)

// UnmarshalJSON asks for what generate_key wants.
func (k *setupKey) UnmarshalJSON(data []byte) error {
	var raw struct {
		Generate any `json:"generate_key"`
	}
	if json.Unmarshal(data, &raw) == nil && raw.Generate == true {
		bound, err := rpc.BindValue[generatedKey]("", data)
		*k = setupKey{Generate: true, Name: bound.Name}
		return err
	}
	if raw.Generate == false {
		bound, err := rpc.BindValue[existingKey]("", data)
		*k = setupKey{ID: bound.ID}
		return err
	}
	// Nothing tells what else should be there.
	_, err := rpc.BindValue[map[string]any]("", data)
	switch {
	case err != nil:
		return err
	case raw.Generate == nil:
		return rpc.ArgError{Attribute: "generate_key", Message: "Field required"}
	}
	return rpc.ArgError{Attribute: "generate_key", Message: "Input should be a valid boolean"}
}

func (m keychainMethods) setUp(ctx context.Context, in setupArgs) (credentialEntry, error) {
	o := in.Options
	setup := keychain.Setup{
		Name: o.ConnectionName, Generate: o.PrivateKey.Generate, KeyName: o.PrivateKey.Name, KeyPair: o.PrivateKey.ID,
		Connection: keychain.Connection{
			Host: o.Manual.Host, Port: o.Manual.Port, User: o.Manual.Username, HostKey: o.Manual.RemoteHostKey, ConnectTimeout: o.Manual.ConnectTimeout,
		},
	}
	c, err := m.keychain.SetUp(ctx, setup)
	if err != nil {
		return credentialEntry{}, wireError(err, "setup_ssh_connection")
	}
	if setup.Generate {
		if pair, err := m.keychain.Get(ctx, c.Connection.KeyPair); err == nil {
			m.added(pair)
		}
	}
	m.added(c)
	return renderCredential(c, true), nil
}
