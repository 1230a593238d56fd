package host

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// ownCertificateLasts is long: whoever has compared the fingerprint should not have to do so again.
const ownCertificateLasts = 10 * 365 * 24 * time.Hour

// ensureCertificate makes the host's own certificate, if it is not there or has expired.
func ensureCertificate(certFile, keyFile string, log *slog.Logger) error {
	if missing(certFile) || missing(keyFile) {
		return makeCertificate(certFile, keyFile)
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %w; remove both to have new ones made", certFile, keyFile, err)
	}
	if time.Now().Before(pair.Leaf.NotAfter) {
		return nil
	}
	log.Warn("the certificate for clients has expired, and a new one is made", "file", certFile, "expired", pair.Leaf.NotAfter)
	return makeCertificate(certFile, keyFile)
}

// makeCertificate makes a self-signed certificate for the names and addresses that this machine has now.
func makeCertificate(certFile, keyFile string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make a certificate: %w", err)
	}
	cert, err := selfSigned(key)
	if err != nil {
		return fmt.Errorf("make a certificate: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("make a certificate: %w", err)
	}
	// The certificate last: it is what tells the next start that both are whole.
	if err := errors.Join(ignoreMissing(os.Remove(certFile)), writePEM(keyFile, 0o600, "PRIVATE KEY", private)); err != nil {
		return fmt.Errorf("make a certificate: %w", err)
	}
	if err := writePEM(certFile, 0o644, "CERTIFICATE", cert); err != nil {
		return fmt.Errorf("make a certificate: %w", err)
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func selfSigned(key *ecdsa.PrivateKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	names, addresses, err := ownNames()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: names[0], Organization: []string{"zferry"}},
		NotBefore:    now.Add(-24 * time.Hour), // clocks of clients may be behind
		NotAfter:     now.Add(ownCertificateLasts),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		// A client that is given this very certificate as the one to trust takes it for its own issuer.
		BasicConstraintsValid: true,
		DNSNames:              names,
		IPAddresses:           addresses,
	}
	return x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
}

// ownNames are the names and addresses under which clients may know this machine.
func ownNames() (names []string, addresses []net.IP, err error) {
	const local = "localhost"
	if name, err := os.Hostname(); err == nil && name != "" && name != local {
		names = append(names, name)
	}
	names = append(names, local)
	addresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	found, err := net.InterfaceAddrs()
	if err != nil {
		return nil, nil, fmt.Errorf("addresses of this machine: %w", err)
	}
	for _, a := range found {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast() {
			addresses = append(addresses, n.IP)
		}
	}
	return names, addresses, nil
}

// writePEM puts a whole file in place of what was there.
func writePEM(name string, mode os.FileMode, kind string, der []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+"-*") // with mode 0600
	if err != nil {
		return err
	}
	err = errors.Join(pem.Encode(f, &pem.Block{Type: kind, Bytes: der}), f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
