package host

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log/slog"
)

// hidden is a secret. It shows itself to nobody who prints or logs it.
type hidden string

// String leaves the secret out.
func (hidden) String() string { return "(hidden)" }

// GoString leaves the secret out.
func (hidden) GoString() string { return "(hidden)" }

// MarshalText leaves the secret out.
func (hidden) MarshalText() ([]byte, error) { return []byte("(hidden)"), nil }

// LogValue leaves the secret out.
func (hidden) LogValue() slog.Value { return slog.StringValue("(hidden)") }

// digest is what is kept of a secret that is to be recognised. To look for a digest tells nothing about the secrets that are
// close to it.
type digest [sha256.Size]byte

func digestOf(secret string) digest { return sha256.Sum256([]byte(secret)) }

// newSecret makes a secret of 256 random bits.
func newSecret() string {
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails
	return base64.RawURLEncoding.EncodeToString(random)
}

// newUUID makes a random UUID.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
