package tasks

import (
	"context"
	"errors"
	"net"
	"strconv"

	"github.com/zferry/zferry/replication"
	"github.com/zferry/zferry/ssh"
	"github.com/zferry/zferry/transport"
	"github.com/zferry/zferry/zfs"
)

// ends are both sides of a replication.
type ends struct {
	source, target replication.Side
	peer           *ssh.Peer // nil if both sides are this system
}

// close ends the connections. What they carried has been waited for, so its error tells nothing.
func (e *ends) close() {
	if e.peer != nil {
		_ = e.peer.Close()
	}
}

// connect reaches both sides of d. The caller closes what is returned.
func (s *Service) connect(ctx context.Context, d *Definition, config ssh.Config) (*ends, error) {
	local := transport.Local{}
	here := replication.Side{ZFS: zfs.New(local, zfs.Options{Path: s.zfs}), Proc: local}
	if !d.Remote() {
		return &ends{source: here, target: here}, nil
	}
	peer, err := s.dialer.Dial(ctx, config)
	if err != nil {
		return nil, err
	}
	there := replication.Side{
		Name: config.User + "@" + net.JoinHostPort(config.Host, strconv.Itoa(config.Port)),
		ZFS:  zfs.New(peer, zfs.Options{Sudo: d.Sudo && config.User != "root"}),
		Proc: peer,
	}
	if d.Direction == Push {
		return &ends{source: here, target: there, peer: peer}, nil
	}
	return &ends{source: there, target: here, peer: peer}, nil
}

// passing tells whether an error may go away by itself: the network failed, and nobody refused anything.
func passing(err error) bool {
	if errors.Is(err, ssh.ErrLost) {
		return true
	}
	var dial *ssh.DialError
	return errors.As(err, &dial) && !errors.Is(err, ssh.ErrNoSuchHost)
}
