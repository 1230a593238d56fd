package main

import (
	"context"
	"errors"

	"github.com/zferry/zferry/replication"
	"github.com/zferry/zferry/transport"
	"github.com/zferry/zferry/zfs"
)

type connectOptions struct {
	port       int
	identities []string
	sudo       bool
}

type ends struct {
	source, target replication.Side
}

func (e *ends) close()           {}
func (e *ends) connections() int { return 0 }

func (o connectOptions) connect(ctx context.Context, from, to endpoint) (*ends, error) {
	var e ends
	for _, x := range []struct {
		endpoint
		side *replication.Side
	}{{from, &e.source}, {to, &e.target}} {
		if x.remote() {
			return nil, errors.New("later")
		}
		local := transport.Local{}
		*x.side = replication.Side{ZFS: zfs.New(local, zfs.Options{Sudo: o.sudo}), Proc: local}
	}
	return &e, nil
}
