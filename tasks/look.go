package tasks

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/zferry/zferry/faults"
	"github.com/zferry/zferry/replication"
	"github.com/zferry/zferry/ssh"
	"github.com/zferry/zferry/transport"
	"github.com/zferry/zferry/zfs"
)

// ErrNoConnection is a place on another system without an SSH connection.
var ErrNoConnection = errors.New("You should pass SSH credentials for SSH transport") //nolint:staticcheck // the wording of the API

// UnreachableError is a system that cannot be reached.
type UnreachableError struct{ Err error }

func (e *UnreachableError) Error() string { return e.Err.Error() }

// Unwrap gives what is the matter.
func (e *UnreachableError) Unwrap() error { return e.Err }

// Place is a system that is looked at while a task is made: this one for the transport LOCAL, else the one that the SSH connection
// leads to.
type Place struct {
	Transport      string
	SSHCredentials *int64
}

// here is this system.
func here() Place { return Place{Transport: Local} }

// at has do look at the zfs of a place. Errors: faults.List, ErrNoConnection, *UnreachableError, those of package keychain and
// those of do. sudo is not used (truenas-api.md 3.6).
func (s *Service) at(ctx context.Context, p Place, do func(z *zfs.Host) error) error {
	switch {
	case p.Transport == Local && p.SSHCredentials != nil:
		return faults.List{{Field: "ssh_credentials", Text: "Remote credentials have no sense for local replication"}}
	case p.Transport == Local:
		return do(zfs.New(transport.Local{}, zfs.Options{Path: s.zfs}))
	case p.SSHCredentials == nil:
		return ErrNoConnection
	}
	config, err := s.keychain.Config(ctx, *p.SSHCredentials)
	if err != nil {
		return err
	}
	peer, err := s.dialer.Dial(ctx, config)
	if err != nil {
		return &UnreachableError{err}
	}
	defer func() { _ = peer.Close() }() // what it carried has been waited for
	err = do(zfs.New(peer, zfs.Options{}))
	if errors.Is(err, ssh.ErrLost) {
		return &UnreachableError{err}
	}
	return err
}

// Datasets lists the filesystems and volumes of a place that can be replicated: not those of the system itself.
func (s *Service) Datasets(ctx context.Context, p Place) (names []string, err error) {
	err = s.at(ctx, p, func(z *zfs.Host) (err error) {
		names, err = z.Names(ctx)
		return err
	})
	return slices.DeleteFunc(names, ofTheSystem), err
}

func ofTheSystem(dataset string) bool {
	_, inPool, _ := strings.Cut(dataset, "/")
	return strings.HasPrefix(dataset, "boot-pool") || strings.HasPrefix(dataset, "freenas-boot") || nested(inPool, ".system")
}

// CreateDataset makes a filesystem and its missing parents. That it exists already is no error.
func (s *Service) CreateDataset(ctx context.Context, p Place, dataset string) error {
	if err := zfs.ValidName(dataset); err != nil {
		return faults.List{{Field: "dataset", Text: sentence(err)}}
	}
	return s.at(ctx, p, func(z *zfs.Host) error { return z.CreateMounted(ctx, dataset) })
}

// Snapshots gives the names of the snapshots of datasets, without what is below those.
func (s *Service) Snapshots(ctx context.Context, p Place, datasets []string) (names []string, err error) {
	err = s.at(ctx, p, func(z *zfs.Host) error {
		for _, dataset := range datasets {
			of, err := snapshotNames(ctx, z, dataset)
			if err != nil {
				return err
			}
			names = append(names, of...)
		}
		return nil
	})
	return names, err
}

func snapshotNames(ctx context.Context, z *zfs.Host, dataset string) (names []string, err error) {
	list, err := z.Snapshots(ctx, dataset, false)
	for _, s := range list {
		if !s.Bookmark {
			names = append(names, s.Name)
		}
	}
	return names, err
}

// Unmatched gives the names of the snapshots at the targets that their sources lack, by target. Datasets that do not exist are
// left out. remote is where the side of a task with that direction is that is not this system.
func (s *Service) Unmatched(ctx context.Context, direction string, sources []string, target string, remote Place) (map[string][]string, error) {
	from, to := here(), remote
	if direction == Pull {
		from, to = remote, here()
	}
	targets := replication.Targets(sources, target)
	present, err := s.existing(ctx, to, targets)
	if err != nil || len(present) == 0 {
		return map[string][]string{}, err
	}
	origin, err := s.existing(ctx, from, sources)
	if err != nil {
		return nil, err
	}
	unmatched := make(map[string][]string)
	for i, source := range sources {
		known, ok := origin[source]
		if !ok {
			continue
		}
		for _, name := range present[targets[i]] {
			if !slices.Contains(known, name) {
				unmatched[targets[i]] = append(unmatched[targets[i]], name)
			}
		}
	}
	return unmatched, nil
}

// existing gives the names of the snapshots of those datasets that exist.
func (s *Service) existing(ctx context.Context, p Place, datasets []string) (map[string][]string, error) {
	found := make(map[string][]string)
	err := s.at(ctx, p, func(z *zfs.Host) error {
		for _, dataset := range datasets {
			names, err := snapshotNames(ctx, z, dataset)
			if errors.Is(err, zfs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			found[dataset] = names
		}
		return nil
	})
	return found, err
}

// NamingSchemas lists the naming schemas of all tasks, sorted, each once.
func (s *Service) NamingSchemas(ctx context.Context) ([]string, error) {
	list, err := s.List(ctx)
	schemas := []string{}
	for _, e := range list {
		schemas = append(append(schemas, e.Definition.NamingSchema...), e.Definition.AlsoIncludeSchema...)
	}
	slices.Sort(schemas)
	return slices.Compact(schemas), err
}
