package methods

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/zferry/zferry/faults"
	"github.com/zferry/zferry/keychain"
	"github.com/zferry/zferry/rpc"
)

type credentialUpdateArgs struct {
	ID   int64 `json:"id" doc:"id of a credential"`
	Data struct {
		Name       rpc.Optional[string]          `json:"name,omitzero" minlen:"1" doc:"a name that no other credential has"`
		Attributes rpc.Optional[json.RawMessage] `json:"attributes,omitzero" doc:"all of them"`
	} `json:"keychain_credential_update" doc:"what is to change"`
}

// update changes a credential. Its rules have another prefix than its model, as clients know it (truenas-api.md 4.3).
func (m keychainMethods) update(ctx context.Context, in credentialUpdateArgs) (credentialEntry, error) {
	var name *string
	if in.Data.Name.Set {
		name = &in.Data.Name.Value
	}
	var change func(c *keychain.Credential) error
	if in.Data.Attributes.Set {
		change = func(c *keychain.Credential) error { return rebind(c, in.Data.Attributes.Value) }
	}
	c, err := m.keychain.Update(ctx, in.ID, name, change)
	if err != nil {
		return credentialEntry{}, wireError(err, "keychain_credentials_update")
	}
	m.emit(Event{Name: "keychaincredential.query", Msg: "changed", ID: c.ID, Fields: renderCredential(c, false), Roles: []string{keychainRead, keychainWrite}})
	return renderCredential(c, true), nil
}

// rebind gives a credential new attributes, of its type.
func rebind(c *keychain.Credential, attributes json.RawMessage) error {
	const attribute = "keychain_credential_update.attributes"
	if c.Type == keychain.TypeKeyPair {
		pair, err := rpc.BindValue[keyPairAttributes](attribute, attributes)
		c.KeyPair = keychain.KeyPair{Private: text(pair.PrivateKey), Public: text(pair.PublicKey)}
		return err
	}
	a, err := rpc.BindValue[connectionAttributes](attribute, attributes)
	c.Connection = connection(a)
	return err
}

type credentialIDArgs struct {
	ID int64 `json:"id" doc:"id of a credential"`
}

// credentialUse is something that uses a credential.
type credentialUse struct {
	Title  string `json:"title" doc:"what it is, with its name"`
	Unbind string `json:"unbind_method" doc:"what deleting the credential with cascade does to it: delete or disable"`
}

func (m keychainMethods) usedBy(ctx context.Context, in credentialIDArgs) ([]credentialUse, error) {
	uses, err := m.keychain.UsedBy(ctx, in.ID, m.users)
	list := make([]credentialUse, len(uses))
	for i, u := range uses {
		list[i] = credentialUse(u)
	}
	return list, wireError(err, "")
}

type ofTypeArgs struct {
	ID   int64  `json:"id" doc:"id of a credential"`
	Type string `json:"type" enum:"SSH_KEY_PAIR,SSH_CREDENTIALS" doc:"the type that it must have"`
}

// ofType is for the inside of a middleware: it shows secrets (truenas-api.md 4.5).
func (m keychainMethods) ofType(ctx context.Context, in ofTypeArgs) (credentialEntry, error) {
	c, err := m.keychain.Get(ctx, in.ID)
	switch {
	case errors.As(err, new(*faults.NotFound)):
		return credentialEntry{}, rpc.Errorf(rpc.ENOENT, "Credential does not exist")
	case err != nil:
		return credentialEntry{}, rpc.Errorf(rpc.EFAULT, "Decrypting credential %d failed", in.ID)
	case string(c.Type) != in.Type:
		return credentialEntry{}, rpc.Errorf(rpc.EINVAL, "Credential is not of type %s", in.Type)
	}
	return renderCredential(c, true), nil
}
