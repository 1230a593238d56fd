package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"github.com/zferry/zferry/replication"
	"github.com/zferry/zferry/ssh"
	"github.com/zferry/zferry/transport"
	"github.com/zferry/zferry/zfs"
)

// connectOptions are the flags that say how systems are reached.
type connectOptions struct {
	port       int
	identities []string
	sudo       bool
}

// ends are both sides of a replication.
type ends struct {
	source, target replication.Side
	peer           *ssh.Peer // of the remote side; nil if both are here
}

// connections is how many SSH connections were made so far.
func (e *ends) connections() int {
	if e.peer == nil {
		return 0
	}
	stats := e.peer.Stats()
	return stats.ControlConnections + stats.StreamConnections
}

// close ends the connections. What they carried has been waited for, so its error tells nothing.
func (e *ends) close() {
	if e.peer != nil {
		_ = e.peer.Close()
	}
}

// connect reaches both sides, of which one at most is remote. The caller closes what is returned.
func (o connectOptions) connect(ctx context.Context, from, to endpoint) (*ends, error) {
	var e ends
	for _, end := range []struct {
		at   endpoint
		side *replication.Side
	}{{from, &e.source}, {to, &e.target}} {
		if !end.at.remote() {
			local := transport.Local{}
			*end.side = replication.Side{ZFS: zfs.New(local, zfs.Options{Sudo: o.sudo && os.Geteuid() != 0}), Proc: local}
			continue
		}
		config, err := o.config(end.at)
		if err != nil {
			return nil, err
		}
		if e.peer, err = ssh.Dial(ctx, config); err != nil {
			if _, ok := errors.AsType[*ssh.ConfigError](err); ok {
				return nil, usageError{err}
			}
			return nil, err
		}
		*end.side = replication.Side{
			Name: config.User + "@" + net.JoinHostPort(config.Host, strconv.Itoa(config.Port)),
			ZFS:  zfs.New(e.peer, zfs.Options{Sudo: o.sudo && config.User != "root"}),
			Proc: e.peer,
		}
	}
	return &e, nil
}

// config is how ssh would reach the system: the user's known hosts, keys and agent.
func (o connectOptions) config(at endpoint) (ssh.Config, error) {
	c := ssh.Config{User: at.user, Host: at.host, Port: o.port, KeyFiles: o.identities, AgentSocket: os.Getenv("SSH_AUTH_SOCK")}
	if c.User == "" {
		me, err := user.Current()
		if err != nil {
			return c, fmt.Errorf("who runs this? %w", err)
		}
		c.User = me.Username
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return c, fmt.Errorf("known hosts and keys: %w", err)
	}
	c.KnownHosts = []string{filepath.Join(home, ".ssh", "known_hosts"), "/etc/ssh/ssh_known_hosts"}
	if len(c.KeyFiles) == 0 {
		c.KeyFiles = defaultKeys(home)
	}
	return c, nil
}

// defaultKeys are those of the keys that ssh would try which exist.
func defaultKeys(home string) (files []string) {
	for _, name := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
		file := filepath.Join(home, ".ssh", name)
		if _, err := os.Stat(file); err == nil {
			files = append(files, file)
		}
	}
	return files
}
