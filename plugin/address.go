package plugin

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"

	"github.com/zferry/zferry/plugin/boundary"
	"github.com/zferry/zferry/rpc"
)

// pluginURL is the address with the path that the protocol lays down for a Unix socket.
func pluginURL(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "unix" || u.Query().Has("path") {
		return address
	}
	u.RawQuery = url.Values{"path": {"/plugin/v1"}}.Encode()
	return u.String()
}

// checkURL tells why an address cannot be a host's.
func checkURL(address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return fmt.Errorf("the host's URL: %w", errors.Unwrap(err))
	}
	switch u.Scheme {
	case "unix", "wss":
		return nil
	case "ws":
		if ip := net.ParseIP(u.Hostname()); u.Hostname() == "localhost" || ip != nil && ip.IsLoopback() {
			return nil
		}
		return errors.New("the host's URL: ws is taken for loopback addresses only, because nothing would protect what goes over the network: use wss")
	}
	return fmt.Errorf("the host's URL: %q is none of unix, wss and ws", u.Scheme)
}

func dialOptions(s boundary.Settings) (rpc.DialOptions, error) {
	if err := checkURL(s.URL); err != nil {
		return rpc.DialOptions{}, err
	}
	if s.CAPEM == "" {
		return rpc.DialOptions{}, nil
	}
	pool, err := certificates(s.CAPEM)
	if err != nil {
		return rpc.DialOptions{}, err
	}
	return rpc.DialOptions{TLS: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}, nil
}

func certificates(pem string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(pem)) {
		return nil, errors.New("the host's certificates: none can be read")
	}
	return pool, nil
}
