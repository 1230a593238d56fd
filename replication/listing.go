package replication

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/zferry/zferry/zfs"
)

// Listing is what one side holds, as two listings show it (decisions.md 23).
type Listing struct {
	Datasets  []zfs.Dataset // parents first; empty if the root does not exist
	Snapshots []zfs.Snapshot
	Ancestors []zfs.Dataset         // of a target that does not exist: those that do, pool first
	Tokens    map[string]TokenState // what the target's resume tokens say, by dataset
}

// TokenState is a resume token as the sending side reads it.
type TokenState struct {
	Token zfs.Token
	Err   error // why the sending side cannot continue from it
}

// look lists both sides at once and has the source decode the tokens that the target holds.
func look(ctx context.Context, task Task, source, target Side) (src, dst Listing, err error) {
	g, gctx := errgroup.WithContext(ctx)
	list(gctx, g, source, task.Source, task.Recursive, &src, false)
	list(gctx, g, target, task.Target, task.Recursive, &dst, true)
	if err := g.Wait(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return src, dst, err
	}
	if len(dst.Datasets) == 0 {
		dst.Snapshots = nil
		if dst.Ancestors, err = target.ZFS.Ancestors(ctx, task.Target); err != nil {
			return src, dst, sideError(target, err)
		}
	}
	dst.Tokens = make(map[string]TokenState)
	for _, d := range dst.Datasets {
		if d.ResumeToken == "" {
			continue
		}
		token, err := source.ZFS.Token(ctx, d.ResumeToken)
		if err != nil && !unusableToken(err) {
			return src, dst, sideError(source, err)
		}
		dst.Tokens[d.Name] = TokenState{Token: token, Err: err}
	}
	return src, dst, nil
}

// list starts the two listings of one side. That a target does not exist is no error.
func list(ctx context.Context, g *errgroup.Group, side Side, root string, recursive bool, into *Listing, mayMiss bool) {
	run := func(f func() error) {
		g.Go(func() error {
			err := f()
			if err == nil || mayMiss && errors.Is(err, zfs.ErrNotExist) {
				return nil
			}
			return sideError(side, err)
		})
	}
	run(func() (err error) {
		into.Datasets, err = side.ZFS.Datasets(ctx, root, recursive)
		return err
	})
	run(func() (err error) {
		into.Snapshots, err = side.ZFS.Snapshots(ctx, root, recursive)
		return err
	})
}

// unusableToken tells whether the sending side understood the request and cannot continue from the token.
func unusableToken(err error) bool {
	return errors.Is(err, zfs.ErrTokenStale) || errors.Is(err, zfs.ErrTokenCorrupt)
}

// sideError says on which side err happened.
func sideError(side Side, err error) error { return fmt.Errorf("%s: %w", side.where(), err) }
