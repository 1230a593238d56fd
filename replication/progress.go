package replication

import (
	"context"
	"sync"
	"time"

	"github.com/zferry/zferry/transport"
)

// Progress is how far a run has come.
type Progress struct {
	Dataset                   string        // source dataset under way
	Snapshot                  string        // last snapshot of its streams, full name
	Datasets, DatasetsTotal   int           // finished; all that receive something
	Snapshots, SnapshotsTotal int           // likewise
	Bytes, Total              int64         // moved so far; the estimate, never below Bytes
	Rate                      int64         // bytes per second over the last seconds
	Left                      time.Duration // estimate; -1 while unknown
	Elapsed                   time.Duration
}

const (
	reportEvery = 500 * time.Millisecond
	rateWindow  = 10 * time.Second
)

// tracker adds up what a run has moved and reports it.
type tracker struct {
	begin  time.Time
	report func(Progress)

	mu      sync.Mutex // guards the fields below; held while reporting
	p       Progress
	known   bool             // all sizes are known
	moved   int64            // bytes of finished datasets
	active  *transport.Meter // of the dataset under way
	samples []sample
}

type sample struct {
	at    time.Time
	bytes int64
}

func newTracker(plan *Plan, report func(Progress)) *tracker {
	t := &tracker{begin: time.Now(), report: report}
	t.p.Total, t.known = plan.Bytes()
	_, t.p.SnapshotsTotal = plan.Streams()
	for _, d := range plan.Datasets {
		if len(d.Steps) > 0 {
			t.p.DatasetsTotal++
		}
	}
	return t
}

// watch reports until ctx ends.
func (t *tracker) watch(ctx context.Context) {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			t.publish()
		}
	}
}

func (t *tracker) start(d DatasetPlan, m *transport.Meter) {
	t.mu.Lock()
	t.p.Dataset, t.p.Snapshot, t.active = d.Source, "", m
	if n := len(d.Steps); n > 0 {
		t.p.Snapshot = d.Steps[n-1].Send.Snapshot
	}
	t.mu.Unlock()
	t.publish()
}

// finish adds what the dataset moved; snapshots is how many arrived whole.
func (t *tracker) finish(ok bool, snapshots int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.moved += t.active.Bytes()
	t.active = nil
	t.p.Snapshots += snapshots
	if ok {
		t.p.Datasets++
	}
}

// publish computes rate and time left, and reports.
func (t *tracker) publish() {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	p := &t.p
	p.Elapsed = now.Sub(t.begin)
	p.Bytes = t.moved
	if t.active != nil {
		p.Bytes += t.active.Bytes()
	}
	t.samples = append(t.samples, sample{now, p.Bytes})
	for len(t.samples) > 2 && now.Sub(t.samples[0].at) > rateWindow {
		t.samples = t.samples[1:]
	}
	first := t.samples[0]
	p.Rate = 0
	if d := now.Sub(first.at).Seconds(); d > 0 {
		p.Rate = int64(float64(p.Bytes-first.bytes) / d)
	}
	p.Total = max(p.Total, p.Bytes)
	p.Left = -1
	if t.known && p.Rate > 0 {
		p.Left = time.Duration(float64(p.Total-p.Bytes) / float64(p.Rate) * float64(time.Second))
	}
	if t.report != nil {
		t.report(*p)
	}
}
