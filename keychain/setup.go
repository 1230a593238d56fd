package keychain

import (
	"context"
	"errors"
	"fmt"
	"strings"

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
			return Credential{}, ofSetup(err, "private_key.name")
		}
		pair = made.ID
	}
	setup.Connection.KeyPair = pair
	c, err := s.Create(ctx, Credential{Name: setup.Name, Type: TypeConnection, Connection: setup.Connection})
	if err == nil {
		return c, nil
	}
	err = ofSetup(err, "connection_name")
	if setup.Generate {
		if left := s.store.DeleteCredential(context.WithoutCancel(ctx), pair); left != nil {
			err = errors.Join(err, fmt.Errorf("the generated key pair '%s' stays: %w", setup.KeyName, left))
		}
	}
	return Credential{}, err
}

// ofSetup names the fields of a credential as a setup has them; name is that of its name.
func ofSetup(err error, name string) error {
	list, ok := errors.AsType[faults.List](err)
	if !ok {
		return err
	}
	var bad faults.List
	for _, f := range list {
		switch attribute, found := strings.CutPrefix(f.Field, "attributes."); {
		case f.Field == "name":
			f.Field = name
		case attribute == "private_key":
			f.Field = "private_key.existing_key_id"
		case found:
			f.Field = "manual_setup." + attribute
		}
		bad = append(bad, f)
	}
	return bad
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
	} else if err := s.checkPair(ctx, &bad, "private_key.existing_key_id", setup.KeyPair); err != nil {
		return err
	}
	taken, err := s.Taken(ctx, setup.Name)
	if err != nil {
		return err
	}
	if taken {
		bad.Addf("connection_name", "Is already in use by another Keychain Credential")
	}
	setup.Connection.check(&bad, "manual_setup.")
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
