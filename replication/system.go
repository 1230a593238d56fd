package replication

import (
	"context"
	"io"

	"github.com/zferry/zferry/zfs"
)

// System is what the engine needs of a system that holds ZFS. *zfs.Host is one.
type System interface {
	Datasets(ctx context.Context, root string, recursive bool) ([]zfs.Dataset, error)
	Snapshots(ctx context.Context, root string, recursive bool) ([]zfs.Snapshot, error)
	Ancestors(ctx context.Context, dataset string) ([]zfs.Dataset, error)
	Estimate(ctx context.Context, s zfs.Send) (int64, error)
	Token(ctx context.Context, token string) (zfs.Token, error)
	Send(ctx context.Context, sends []zfs.Send, stdout io.Writer, started func(pid int, start string) error) error
	Receive(ctx context.Context, receives []zfs.Receive, stdin io.Reader, started func(pid int, start string) error) (warnings []string, err error)
	AbortReceive(ctx context.Context, dataset string) error
	Create(ctx context.Context, dataset string, props map[string]string) error
	Rollback(ctx context.Context, snapshot string) error
}

// Processes ends processes that an earlier run left behind on a system.
type Processes interface {
	// End ends process pid and what it started, if it is still the one that started at start, and tells whether it is
	// gone.
	End(ctx context.Context, pid int, start string) (gone bool, err error)
}

// Side is one of the two systems of a replication.
type Side struct {
	Name string // for messages and the journal, such as root@nas2:22; "" is this system
	ZFS  System
	Proc Processes
}

// where names the side in a message.
func (s Side) where() string {
	if s.Name == "" {
		return "this system"
	}
	return s.Name
}
