package keychain

import (
	"context"
	"errors"
	"fmt"

	"github.com/zferry/zferry/faults"
	"github.com/zferry/zferry/ssh"
)

// Setup is a new connection, made by hand, with a key pair that exists or is generated (truenas-api.md 4.7).
type Setup struct {
	Name       string
	Generate   bool // a key pair with the name KeyName
	KeyName    string
	KeyPair    int64 // id of the one to use if none is generated
	Connection Connection
}

// SetUp generates the key pair if that is wanted, and keeps the connection. Every name is checked before anything is done,
// and a generated pair goes again if the connection cannot be kept. The other system is not contacted.
func (s *Service) SetUp(ctx context.Context, setup Setup) (Credential, error) {
	if err := s.checkSetup(ctx, setup); err != nil {
		return Credential{}, err
	}
	pair := setup.KeyPair
	if setup.Generate {
		made, err := s.generate(ctx, setup.KeyName)
		if err != nil {
			return Credential{}, err
		}
		pair = made.ID
	}
	setup.Connection.KeyPair = pair
	c, err := s.Create(ctx, Credential{Name: setup.Name, Type: TypeConnection, Connection: setup.Connection})
	if err != nil && setup.Generate {
		err = errors.Join(err, s.store.DeleteCredential(context.WithoutCancel(ctx), pair))
	}
	return c, err
}

// checkSetup finds all that is wrong before anything is made (S-21). Fields are those of the connection and the setup.
func (s *Service) checkSetup(ctx context.Context, setup Setup) error {
	var bad faults.List
	if setup.Generate {
		taken, err := s.Taken(ctx, setup.KeyName)
		if err != nil {
			return err
		}
		if taken {
			bad.Addf("private_key.name", "Is already in use by another SSH Key pair")
		} else if setup.KeyName == setup.Name {
			bad.Addf("private_key.name", "The key pair and the connection need different names")
		}
	} else if fault := s.pairFault(ctx, setup.KeyPair); fault != "" {
		bad.Addf("private_key.existing_key_id", "%s", fault)
	}
	taken, err := s.Taken(ctx, setup.Name)
	if err != nil {
		return err
	}
	if taken {
		bad.Addf("connection_name", "Is already in use by another Keychain Credential")
	}
	var connection faults.List
	setup.Connection.check(&connection)
	for _, f := range connection {
		bad.Addf("manual_setup"+f.Field[len("attributes"):], "%s", f.Text)
	}
	return bad.Err()
}

// generate makes and keeps a key pair.
func (s *Service) generate(ctx context.Context, name string) (Credential, error) {
	private, public, err := ssh.GenerateKeyPair(ssh.RSA)
	if err != nil {
		return Credential{}, fmt.Errorf("generate key pair: %w", err)
	}
	return s.Create(ctx, Credential{Name: name, Type: TypeKeyPair, KeyPair: KeyPair{Private: string(private), Public: public}})
}
