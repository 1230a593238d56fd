package boundary

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// The two ends, which are also the names of their files and in their certificates.
const (
	hostEnd   = "host"
	pluginEnd = "plugin"
)

// MakeCertificates makes fresh certificates and keys for a host and a plugin in DIR/tls. It takes the connection away
// from a host that means to find a running plugin again, so it is for when none runs.
func MakeCertificates(dir string) error {
	folder := filepath.Join(dir, tlsName)
	if err := privateFolder(folder); err != nil {
		return fmt.Errorf("make certificates: %v", err)
	}
	for end, usage := range map[string]x509.ExtKeyUsage{
		hostEnd:   x509.ExtKeyUsageClientAuth,
		pluginEnd: x509.ExtKeyUsageServerAuth,
	} {
		certificate, key, err := makeCertificate(end, usage)
		if err != nil {
			return fmt.Errorf("make certificates: %v", err)
		}
		if err := WriteFile(filepath.Join(folder, end+".key"), key); err != nil {
			return fmt.Errorf("make certificates: %v", err)
		}
		if err := WriteFile(filepath.Join(folder, end+".crt"), certificate); err != nil {
			return fmt.Errorf("make certificates: %v", err)
		}
	}
	return nil
}

func makeCertificate(end string, usage x509.ExtKeyUsage) (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: serverName(end)},
		DNSNames:     []string{serverName(end)},
		// A plugin may run for years, and the clock of a machine may start in 1970 and jump; what ends these
		// certificates is the next launch. The last instant is RFC 5280's for "no end".
		NotBefore:             time.Unix(0, 0),
		NotAfter:              time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{usage},
		BasicConstraintsValid: true, // and not a CA: it vouches for itself alone
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return certificate, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}

func serverName(end string) string { return "zferry-" + end }

// HostTLS is the host's end of the connection, with the certificates that lie in DIR/tls now. It accepts the plugin's
// certificate and no other.
func HostTLS(dir string) (*tls.Config, error) {
	own, other, err := readCertificates(dir, hostEnd, pluginEnd)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{own},
		RootCAs:      other,
		ServerName:   serverName(pluginEnd),
	}, nil
}

// PluginTLS is the plugin's end. It accepts the host's certificate and no other.
func PluginTLS(dir string) (*tls.Config, error) {
	own, other, err := readCertificates(dir, pluginEnd, hostEnd)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{own},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    other,
	}, nil
}

func readCertificates(dir, ownEnd, otherEnd string) (own tls.Certificate, other *x509.CertPool, err error) {
	path := func(name string) string { return filepath.Join(dir, tlsName, name) }
	own, err = tls.LoadX509KeyPair(path(ownEnd+".crt"), path(ownEnd+".key"))
	if err != nil {
		return own, nil, fmt.Errorf("read the %s's certificate: %v", ownEnd, err)
	}
	text, err := os.ReadFile(path(otherEnd + ".crt"))
	if err != nil {
		return own, nil, fmt.Errorf("read the %s's certificate: %v", otherEnd, err)
	}
	other = x509.NewCertPool()
	if !other.AppendCertsFromPEM(text) {
		return own, nil, fmt.Errorf("read the %s's certificate: nothing in %s", otherEnd, path(otherEnd+".crt"))
	}
	return own, other, nil
}
