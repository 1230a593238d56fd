package boundary

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCertificateFiles(t *testing.T) {
	dir := t.TempDir()
	// A folder that others may enter, from an earlier time.
	if err := os.Mkdir(filepath.Join(dir, tlsName), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := MakeCertificates(dir); err != nil {
		t.Fatal(err)
	}
	want := map[string]fs.FileMode{
		".": fs.ModeDir | 0o700, "host.crt": 0o600, "host.key": 0o600, "plugin.crt": 0o600, "plugin.key": 0o600,
	}
	root := filepath.Join(dir, tlsName)
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode() != want[name] {
			t.Errorf("%s has mode %v, want %v", name, info.Mode(), want[name])
		}
		delete(want, name)
		return err
	})
	if err != nil || len(want) > 0 {
		t.Errorf("%v; missing: %v", err, want)
	}
}

// TestTLSAcceptsOneCertificate has each end meet the right certificate and wrong ones.
func TestTLSAcceptsOneCertificate(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	for _, d := range []string{dir, other} {
		if err := MakeCertificates(d); err != nil {
			t.Fatal(err)
		}
	}
	host, plugin := mustTLS(t, HostTLS, dir), mustTLS(t, PluginTLS, dir)
	with := func(c *tls.Config, certificates ...tls.Certificate) *tls.Config {
		c = c.Clone()
		c.Certificates = certificates
		return c
	}
	old := plugin.Clone()
	old.MinVersion, old.MaxVersion = 0, tls.VersionTLS12
	tests := []struct {
		name         string
		host, plugin *tls.Config
		want         string // in the errors of the two ends; empty: both are content
	}{
		{name: "right", host: host, plugin: plugin},
		{name: "another plugin", host: host, plugin: with(plugin, mustTLS(t, PluginTLS, other).Certificates...), want: "signed by unknown authority"},
		{name: "another host", host: with(host, mustTLS(t, HostTLS, other).Certificates...), plugin: plugin, want: "signed by unknown authority"},
		{name: "host without a certificate", host: with(host), plugin: plugin, want: "client didn't provide a certificate"},
		{name: "plugin that shows the host's", host: host, plugin: with(plugin, host.Certificates...), want: "certificate"},
		{name: "host that shows the plugin's", host: with(host, plugin.Certificates...), plugin: plugin, want: "certificate"},
		{name: "signed with the host's key", host: with(host, signedBy(t, host.Certificates[0])), plugin: plugin, want: "certificate"},
		{name: "older TLS", host: host, plugin: old, want: "version"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := handshake(t, tt.host, tt.plugin)
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
}

// TestTLSOutlivesTheClock shows that certificates hold whatever the clock says.
func TestTLSOutlivesTheClock(t *testing.T) {
	dir := t.TempDir()
	if err := MakeCertificates(dir); err != nil {
		t.Fatal(err)
	}
	for _, now := range []time.Time{time.Unix(60, 0), time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)} {
		host, plugin := mustTLS(t, HostTLS, dir), mustTLS(t, PluginTLS, dir)
		host.Time = func() time.Time { return now }
		plugin.Time = host.Time
		if err := handshake(t, host, plugin); err != nil {
			t.Errorf("%v: %v", now, err)
		}
	}
}

func mustTLS(t *testing.T, read func(string) (*tls.Config, error), dir string) *tls.Config {
	t.Helper()
	config, err := read(dir)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// handshake lets the two ends meet and returns what either has against it. In TLS 1.3 the client learns only with its
// first byte that it was refused.
func handshake(t *testing.T, host, plugin *tls.Config) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	near, far := socketPair(t)
	defer near.Close()
	server, client := tls.Server(far, plugin), tls.Client(near, host)
	result := make(chan error, 1)
	go func() {
		defer far.Close()
		err := server.HandshakeContext(ctx)
		if err == nil {
			_, err = server.Write([]byte("x"))
		}
		result <- err
	}()
	clientErr := client.HandshakeContext(ctx)
	if clientErr == nil {
		_, clientErr = client.Read(make([]byte, 1))
	}
	serverErr := <-result
	if (clientErr == nil) != (serverErr == nil) {
		t.Errorf("one end is content and the other is not: %v, %v", clientErr, serverErr)
	}
	if clientErr == nil && serverErr == nil {
		return nil
	}
	return fmt.Errorf("%v, %v", clientErr, serverErr)
}

// socketPair is two connected sockets: unlike the ends of net.Pipe, both may write at the same time.
func socketPair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if near, err = net.Dial("unix", listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	return near, far
}

// signedBy makes a certificate for a client, signed with the key of another.
func signedBy(t *testing.T, parent tls.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := *parent.Leaf
	template.SerialNumber = big.NewInt(2)
	der, err := x509.CreateCertificate(rand.Reader, &template, parent.Leaf, key.Public(), parent.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
