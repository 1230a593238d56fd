package ssh

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	xssh "golang.org/x/crypto/ssh"
)

// rsaBits is the size of the RSA keys that ssh-keygen makes unless told otherwise.
const rsaBits = 3072

// KeyType is the type of a key pair.
type KeyType string

// The types of key pairs that can be made.
const (
	RSA     KeyType = "RSA"
	Ed25519 KeyType = "ED25519"
)

// GenerateKeyPair makes a key pair without a passphrase. Both texts end with a line break, as those of ssh-keygen.
func GenerateKeyPair(kind KeyType) (private PrivateKey, public string, err error) {
	var key crypto.Signer
	switch kind {
	case RSA:
		key, err = rsa.GenerateKey(rand.Reader, rsaBits)
	case Ed25519:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = fmt.Errorf("unknown type %q", kind)
	}
	if err != nil {
		return nil, "", fmt.Errorf("key pair: %w", err)
	}
	block, err := xssh.MarshalPrivateKey(key, "")
	if err != nil {
		return nil, "", fmt.Errorf("key pair: %w", err)
	}
	private = pem.EncodeToMemory(block)
	public, err = PublicKeyOf(private)
	return private, public, err
}

// PublicKeyOf derives the public key of a private one, as a line of authorized_keys without a comment. Errors: a *KeyError,
// which is ErrPassphrase for a protected key.
func PublicKeyOf(private PrivateKey) (string, error) {
	signer, err := xssh.ParsePrivateKey(private)
	if errors.As(err, new(*xssh.PassphraseMissingError)) {
		return "", &KeyError{Name: "private key", Err: ErrPassphrase}
	}
	if err != nil {
		return "", &KeyError{Name: "private key", Err: errors.New("is not a private key that can be read (RSA, ECDSA or Ed25519, in PEM)")}
	}
	return string(xssh.MarshalAuthorizedKey(signer.PublicKey())), nil
}

// CheckPublicKey tells why a text is not one public key in a line of authorized_keys.
func CheckPublicKey(text string) error {
	_, _, _, rest, err := xssh.ParseAuthorizedKey([]byte(text))
	if err != nil || strings.TrimSpace(string(rest)) != "" {
		return &KeyError{Name: "public key", Err: errors.New("is not a line of type and key")}
	}
	return nil
}
