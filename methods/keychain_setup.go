package methods

import (
	"context"
	"encoding/json"

	"github.com/zferry/zferry/keychain"
	"github.com/zferry/zferry/rpc"
)

type setupArgs struct {
	Options struct {
		PrivateKey     json.RawMessage `json:"private_key"`
		ConnectionName string          `json:"connection_name" minlen:"1"`
		SetupType      string          `json:"setup_type" enum:"MANUAL,SEMI-AUTOMATIC"`
		Manual         json.RawMessage `json:"manual_setup" default:"null"`
		SemiAutomatic  json.RawMessage `json:"semi_automatic_setup" default:"null"`
	} `json:"options"`
}

// What stands behind the discriminators, bound under the path that clients know it by.
type (
	setupKeyKind struct {
		Generate bool `json:"generate_key"`
	}
	setupGenerate struct {
		Key struct {
			Generate bool   `json:"generate_key"`
			Name     string `json:"name" minlen:"1"`
		} `json:"options.private_key"`
	}
	setupExisting struct {
		Key struct {
			Generate bool  `json:"generate_key"`
			ID       int64 `json:"existing_key_id"`
		} `json:"options.private_key"`
	}
	setupManual struct {
		Connection struct {
			Host           string `json:"host" doc:"name or address"`
			Port           int64  `json:"port" default:"22"`
			Username       string `json:"username" default:"root"`
			RemoteHostKey  string `json:"remote_host_key" long:"true" doc:"lines of type and key that the host may show"`
			ConnectTimeout int64  `json:"connect_timeout" default:"10" doc:"seconds"`
		} `json:"options.manual_setup"`
	}
)

// setUp takes only what a user gives by hand so far.
func (m keychainMethods) setUp(ctx context.Context, in setupArgs) (credentialEntry, error) {
	setup, err := bindSetup(in)
	if err != nil {
		return credentialEntry{}, err
	}
	c, err := m.keychain.SetUp(ctx, setup)
	if err != nil {
		return credentialEntry{}, wireError(err, "setup_ssh_connection")
	}
	m.added(c)
	if setup.Generate {
		if pair, err := m.keychain.Get(ctx, c.Connection.KeyPair); err == nil {
			m.added(pair)
		}
	}
	return renderCredential(c, true), nil
}

// bindSetup reads what depends on the discriminators; all faults of both come together.
func bindSetup(in setupArgs) (keychain.Setup, error) {
	s := keychain.Setup{Name: in.Options.ConnectionName}
	var bad rpc.ArgErrors
	note := func(err error) {
		if err != nil {
			bad = append(bad, asArgs(err)...)
		}
	}
	var kind setupKeyKind
	if json.Unmarshal(in.Options.PrivateKey, &kind) == nil && !kind.Generate {
		bound, err := bindOne[setupExisting](in.Options.PrivateKey)
		note(err)
		s.KeyPair = bound.Key.ID
	} else {
		bound, err := bindOne[setupGenerate](in.Options.PrivateKey)
		note(err)
		s.Generate, s.KeyName = true, bound.Key.Name
	}
	switch {
	case in.Options.SetupType != "MANUAL":
		bad.Add("options.setup_type", "This version of zferry does not support this: choose MANUAL")
	case !present(in.Options.Manual):
		bad.Add("options.manual_setup", "Field required")
	default:
		bound, err := bindOne[setupManual](in.Options.Manual)
		note(err)
		c := bound.Connection
		s.Connection = keychain.Connection{Host: c.Host, Port: c.Port, User: c.Username, HostKey: c.RemoteHostKey, ConnectTimeout: c.ConnectTimeout}
	}
	if in.Options.SetupType == "MANUAL" && present(in.Options.SemiAutomatic) {
		bad.Add("options.semi_automatic_setup", "Extra inputs are not permitted")
	}
	return s, bad.Err()
}

func present(value json.RawMessage) bool { return len(value) > 0 && string(value) != "null" }
