package state

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"fmt"
	"strings"
)

const (
	// A key has 381 random bits, so the iterations add nothing to its safety. Clients accept no fewer than these, and
	// no other length of the salt.
	iterations = 50_000
	saltBytes  = 16

	secretLength = 64
	letters      = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
)

// verifier is what SCRAM-SHA-512 keeps of a secret (RFC 5802, section 3).
type verifier struct {
	salt       []byte
	iterations int
	storedKey  []byte
	serverKey  []byte
}

func newVerifier(secret string) (verifier, error) {
	v := verifier{salt: make([]byte, saltBytes), iterations: iterations}
	_, _ = rand.Read(v.salt) // never fails
	var err error
	v.storedKey, v.serverKey, err = v.keys(secret)
	return v, err
}

func (v verifier) keys(secret string) (stored, server []byte, err error) {
	salted, err := pbkdf2.Key(sha512.New, secret, v.salt, v.iterations, sha512.Size)
	if err != nil {
		return nil, nil, fmt.Errorf("derive a key: %w", err)
	}
	digest := sha512.Sum512(mac(salted, "Client Key"))
	return digest[:], mac(salted, "Server Key"), nil
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha512.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// matches takes the same time whatever the secret is.
func (v verifier) matches(secret string) (bool, error) {
	stored, _, err := v.keys(secret)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(stored, v.storedKey) == 1, nil
}

// newSecret makes the part of an API key that is secret.
func newSecret() string {
	const fair = 256 / len(letters) * len(letters) // bytes from here on would favour the first letters
	var b strings.Builder
	for random := make([]byte, secretLength); b.Len() < secretLength; {
		_, _ = rand.Read(random) // never fails
		for _, r := range random {
			if int(r) < fair && b.Len() < secretLength {
				b.WriteByte(letters[int(r)%len(letters)])
			}
		}
	}
	return b.String()
}
