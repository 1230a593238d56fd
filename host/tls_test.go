package host

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zferry/zferry/rpc"
)

// TestWantsTLS is which addresses are served with TLS.
func TestWantsTLS(t *testing.T) {
	const everywhere, loopback = "0.0.0.0:80", "127.0.0.1:80"
	for name, tt := range map[string]struct {
		config Config
		want   bool
		fault  string
	}{
		"loopback":                 {config: Config{Listen: loopback}},
		"loopback, IPv6":           {config: Config{Listen: "[::1]:0"}},
		"loopback, by name":        {config: Config{Listen: "localhost:6000"}},
		"loopback, another":        {config: Config{Listen: "127.8.8.8:1"}},
		"loopback, asked for":      {config: Config{Listen: loopback, TLS: true}, want: true},
		"loopback, certificate":    {config: Config{Listen: loopback, TLSCert: "a", TLSKey: "b"}, want: true},
		"loopback, plain":          {config: Config{Listen: loopback, PlainHTTP: true}},
		"everywhere":               {config: Config{Listen: everywhere}, want: true},
		"everywhere, no address":   {config: Config{Listen: ":80"}, want: true},
		"everywhere, IPv6":         {config: Config{Listen: "[::]:80"}, want: true},
		"one address":              {config: Config{Listen: "192.0.2.1:80"}, want: true},
		"a name":                   {config: Config{Listen: "nas.example.org:80"}, want: true},
		"everywhere, plain":        {config: Config{Listen: everywhere, PlainHTTP: true}},
		"no port":                  {config: Config{Listen: "127.0.0.1"}, fault: "missing port"},
		"key without certificate":  {config: Config{Listen: loopback, TLSKey: "b"}, fault: "given together"},
		"certificate without key":  {config: Config{Listen: loopback, TLSCert: "a"}, fault: "given together"},
		"both":                     {config: Config{Listen: everywhere, TLS: true, PlainHTTP: true}, fault: "exclude each other"},
		"plain with a certificate": {config: Config{Listen: everywhere, TLSCert: "a", TLSKey: "b", PlainHTTP: true}, fault: "exclude each other"},
	} {
		got, err := tt.config.wantsTLS()
		switch {
		case tt.fault == "" && err != nil, tt.fault != "" && (err == nil || !strings.Contains(err.Error(), tt.fault)):
			t.Errorf("%s: error %v, want %q", name, err, tt.fault)
		case got != tt.want:
			t.Errorf("%s: TLS %t", name, got)
		}
	}
}

// encrypted serves with TLS.
func encrypted(c *Config) { c.TLS = true }

// trusting is how a client trusts the certificate in a file, and nothing else.
func trusting(t *testing.T, file string) *tls.Config {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		t.Fatalf("no certificate in %s", file)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

func fileText(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// dialTLS connects a client that trusts what config says.
func (h *testHost) dialTLS(config *tls.Config) (*testClient, error) {
	h.t.Helper()
	conn, err := rpc.Dial(h.t.Context(), h.addr.Client, rpc.DialOptions{TLS: config}, rpc.Options{})
	if err != nil {
		return nil, err
	}
	h.t.Cleanup(func() { conn.Close(0, "") })
	return &testClient{Conn: conn, t: h.t}, nil
}

// TestTLSOwnCertificate is the certificate that the first start makes, and what the connections over it are.
func TestTLSOwnCertificate(t *testing.T) {
	noLeaks(t)
	dir := shortDir(t)
	h := serveIn(t, dir, encrypted)
	if !strings.HasPrefix(h.addr.Client, "wss://127.0.0.1:") {
		t.Errorf("client URL %s", h.addr.Client)
	}
	certFile, keyFile := filepath.Join(dir, "tls-cert.pem"), filepath.Join(dir, "tls-key.pem")
	if info, err := os.Stat(keyFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key: %v, %v", info, err)
	}
	c, err := h.dialTLS(trusting(t, certFile))
	if err != nil {
		t.Fatal(err)
	}
	var ok bool
	if c.must("auth.login_with_api_key", &ok, h.adminKey()); !ok {
		t.Error("no login over TLS")
	}
	if _, err := h.dialTLS(nil); err == nil {
		t.Error("the system's certificates vouch for it")
	}
	block, _ := pem.Decode(fileText(t, certFile))
	checkNames(t, block.Bytes)
	h.hub.mu.RLock()
	for s := range h.hub.sessions {
		if !bytes.Equal(s.tlsCertificate(), block.Bytes) {
			t.Error("the session does not know its certificate")
		}
	}
	h.hub.mu.RUnlock()
	if !strings.Contains(h.logs.String(), h.addr.Fingerprint) || len(h.addr.Fingerprint) != 32*3-1 {
		t.Errorf("fingerprint %q", h.addr.Fingerprint)
	}
	if bytes.Contains([]byte(h.logs.String()), fileText(t, keyFile)[40:80]) {
		t.Error("the log has the key")
	}

	before := h.addr.Fingerprint
	h.stop(nil)
	if again := serveIn(t, dir, encrypted); again.addr.Fingerprint != before {
		t.Errorf("the next start has another certificate: %s, before %s", again.addr.Fingerprint, before)
	}
}

// checkNames checks for whom the host's own certificate is good.
func checkNames(t *testing.T, der []byte) {
	t.Helper()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{name, "localhost", "127.0.0.1", "::1"} {
		if err := cert.VerifyHostname(want); err != nil {
			t.Error(err)
		}
	}
	if cert.PublicKeyAlgorithm != x509.ECDSA || cert.IsCA {
		t.Errorf("algorithm %v, CA %t", cert.PublicKeyAlgorithm, cert.IsCA)
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		ip := a.(*net.IPNet).IP
		if !ip.IsLinkLocalUnicast() && !slices.ContainsFunc(cert.IPAddresses, ip.Equal) && !ip.IsLoopback() {
			t.Errorf("the address %v is missing", ip)
		}
	}
}

// TestTLSVersions is what is refused, and that a session that is not encrypted has no certificate.
func TestTLSVersions(t *testing.T) {
	noLeaks(t)
	h := serve(t, encrypted)
	config := trusting(t, filepath.Join(h.dir, "tls-cert.pem"))
	address := strings.TrimSuffix(strings.TrimPrefix(h.addr.Client, "wss://"), "/api/current")
	for version, good := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		only := config.Clone()
		only.MinVersion, only.MaxVersion = version, version
		conn, err := tls.Dial("tcp", address, only)
		if (err == nil) != good {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		if err == nil {
			_ = conn.Close()
		}
	}
	if got := get(t, http.DefaultClient, "http://"+address+"/api/versions"); got.status != http.StatusBadRequest {
		t.Errorf("plain HTTP: status %d %s", got.status, got.text)
	}
	h.dial(h.socketURL()).must("core.ping", nil)
	h.hub.mu.RLock()
	defer h.hub.mu.RUnlock()
	for s := range h.hub.sessions {
		if s.tlsCertificate() != nil {
			t.Error("a session over the Unix socket has a certificate")
		}
	}
}

// TestTLSReload has the files of a certificate replaced while the host runs.
func TestTLSReload(t *testing.T) {
	noLeaks(t)
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	if err := makeCertificate(certFile, keyFile); err != nil {
		t.Fatal(err)
	}
	h := serve(t, func(c *Config) { c.TLSCert, c.TLSKey = certFile, keyFile })
	if _, err := os.Stat(filepath.Join(h.dir, "tls-key.pem")); err == nil {
		t.Error("a certificate of the host's own was made beside the one given")
	}
	old := trusting(t, certFile)
	first, err := h.dialTLS(old)
	if err != nil {
		t.Fatal(err)
	}

	// In the middle of a replacement the one before stays in force.
	if err := os.WriteFile(keyFile, []byte("half a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := h.dialTLS(old); err != nil {
		t.Errorf("with an unreadable key: %v", err)
	}
	if !strings.Contains(h.logs.String(), "the changed certificate is not used") {
		t.Error("nothing is said about the unreadable key")
	}

	if err := makeCertificate(certFile, keyFile); err != nil {
		t.Fatal(err)
	}
	if _, err := h.dialTLS(old); err == nil {
		t.Error("the replaced certificate is still shown")
	}
	if _, err := h.dialTLS(trusting(t, certFile)); err != nil {
		t.Errorf("the new certificate is not shown: %v", err)
	}
	first.must("core.ping", nil) // connections from before go on
}

// TestTLSExpired has the host's own certificate made anew when it has expired, and only then.
func TestTLSExpired(t *testing.T) {
	h := serve(t, encrypted)
	certFile, keyFile := filepath.Join(h.dir, "tls-cert.pem"), filepath.Join(h.dir, "tls-key.pem")
	before := fileText(t, certFile)
	h.stop(nil)
	for name, tt := range map[string]struct {
		text []byte
		good bool
	}{"unreadable": {[]byte("nothing"), false}, "whole": {before, true}} {
		if err := os.WriteFile(certFile, tt.text, 0o600); err != nil {
			t.Fatal(err)
		}
		err := ensureCertificate(certFile, keyFile, h.log)
		if (err == nil) != tt.good || !bytes.Equal(fileText(t, certFile), tt.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	if err := ensureCertificate(certFile, keyFile, h.log); err != nil || bytes.Equal(before, fileText(t, certFile)) {
		t.Errorf("a certificate that is gone: %v", err)
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil || time.Until(pair.Leaf.NotAfter) < 9*365*24*time.Hour {
		t.Errorf("%v, %v", pair.Leaf, err)
	}
}

// TestPlainEverywhere listens on every address without TLS, which somebody has asked for.
func TestPlainEverywhere(t *testing.T) {
	noLeaks(t)
	h := serve(t, func(c *Config) { c.Listen, c.PlainHTTP = "0.0.0.0:0", true })
	if !strings.HasPrefix(h.addr.Client, "ws://") || h.addr.Fingerprint != "" {
		t.Errorf("%+v", h.addr)
	}
	h.dial(h.addr.Client).must("core.ping", nil)
}

// TestSockets is several Unix sockets, each open to everybody.
func TestSockets(t *testing.T) {
	noLeaks(t)
	dir := shortDir(t)
	paths := []string{filepath.Join(dir, "one.sock"), filepath.Join(dir, "two.sock")}
	h := serveIn(t, dir, func(c *Config) { c.Sockets = paths })
	if !slices.Equal(h.addr.Sockets, paths) {
		t.Errorf("sockets %v", h.addr.Sockets)
	}
	for _, path := range paths {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o666 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
		var me struct {
			Name string `json:"pw_name"`
		}
		h.dial("unix://"+path).must("auth.me", &me)
		if me.Name == "" {
			t.Errorf("%s: nobody is logged in", path)
		}
	}
}

// TestBootID_1_1 is GET /api/boot_id, and what lets a page of another origin read /api/versions.
func TestBootID_1_1(t *testing.T) {
	noLeaks(t)
	h := serve(t)
	base := "http" + strings.TrimSuffix(strings.TrimPrefix(h.addr.Client, "ws"), "/api/current")
	kernel := strings.TrimSpace(string(fileText(t, "/proc/sys/kernel/random/boot_id")))
	got := get(t, http.DefaultClient, base+"/api/boot_id")
	var id string
	if err := json.Unmarshal([]byte(got.text), &id); err != nil || id != kernel || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("boot id %s, %v; want %s", got.text, err, kernel)
	}
	if got := get(t, http.DefaultClient, base+"/api/versions").header.Get("Access-Control-Allow-Origin"); got != "*" {
		t.Errorf("Access-Control-Allow-Origin: %q", got)
	}
	over := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", h.addr.Sockets[0])
	}}}
	if got := get(t, over, "http://local/api/boot_id"); got.status != http.StatusOK {
		t.Errorf("over the socket: %d", got.status)
	}
	response, err := http.Post(base+"/api/boot_id", "text/plain", http.NoBody) //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: status %d", response.StatusCode)
	}
}
