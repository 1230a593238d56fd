package replication

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// Options are what a caller may want of Prepare and Run. The zero value is useful.
type Options struct {
	Journal Journal        // nil: processes are not noted
	Report  func(Progress) // nil, or called at least every second of a run, by one goroutine at a time
	Warn    func(string)   // nil, or called with what a person should know; likewise
}

func (o Options) warn(text string) {
	if o.Warn != nil {
		o.Warn(text)
	}
}

// estimatesAtOnce is how many sizes are asked for at the same time.
const estimatesAtOnce = 4

// Prepare makes the plan of a run: it ends what earlier runs left behind, lists both sides at once, compares them, asks
// for the size of each stream and holds the sum against the room at the target (decisions.md 23c). It changes nothing on
// either side. The error is a Refused with all reasons at once, or says which side failed and how.
func Prepare(ctx context.Context, task Task, source, target Side, o Options) (*Plan, error) {
	if err := endLeftovers(ctx, task, []Side{source, target}, o); err != nil {
		return nil, err
	}
	src, dst, err := look(ctx, task, source, target)
	if err != nil {
		return nil, err
	}
	plan, err := NewPlan(task, src, dst)
	if err != nil {
		return nil, err
	}
	if err := estimate(ctx, plan, source); err != nil {
		return nil, err
	}
	return plan, plan.checkRoom(target)
}

// estimate fills in the sizes of the streams.
func estimate(ctx context.Context, plan *Plan, source Side) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(estimatesAtOnce)
	for i := range plan.Datasets {
		for k := range plan.Datasets[i].Steps {
			step := &plan.Datasets[i].Steps[k]
			if step.Kind == Resumed {
				continue // its size came with the token: zfs counts only what is left
			}
			g.Go(func() (err error) {
				step.Bytes, err = source.ZFS.Estimate(gctx, step.Send)
				return err
			})
		}
	}
	if err := g.Wait(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return sideError(source, err)
	}
	return nil
}

// checkRoom refuses a plan that would fill the target. An unknown size refuses nothing.
func (p *Plan) checkRoom(target Side) error {
	total, _ := p.Bytes()
	if total <= p.Available {
		return nil
	}
	return Refused{{p.Task.Target, fmt.Sprintf("The streams are estimated at %d bytes, but '%s' on %s has room for %d bytes. Free space there or raise its quota.", total, p.Task.Target, target.where(), p.Available)}}
}
