package host

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/zferry/zferry/rpc"
)

const (
	// jobStep is the distance of the ids in a series: the host has the multiples of it, plugin k those that leave the rest k.
	jobStep = 16
	// keepJobs is how many finished jobs of a series are kept.
	keepJobs = 1000
)

// jobChange is something that happened to a job.
type jobChange struct {
	msg      string // "added" or "changed"
	entry    *jobEntry
	progress bool // nothing but progress: something newer may take its place
}

// jobTable is what the host knows of the jobs of one series: its own or those of a plugin, which it also knows while the plugin
// is away.
type jobTable struct {
	series int64
	// publish is called with mu held, so that the changes of a job come in order. It must not block.
	publish func(jobChange)
	history *history // where the table is kept; nil is nowhere

	mu       sync.Mutex // guards the fields below
	jobs     map[int64]*tableJob
	watchers map[int64]map[chan struct{}]bool
	loaded   bool // the whole table was seen since the host started
}

type tableJob struct {
	*jobEntry
	told bool // subscribers know this state of it
	link int  // the connection on which it was last heard of
	copy bool // it is out of the history, and the plugin has not told of it since the host started
}

func newJobTable(series int64, publish func(jobChange)) *jobTable {
	return &jobTable{
		series: series, publish: publish,
		jobs: make(map[int64]*tableJob), watchers: make(map[int64]map[chan struct{}]bool),
	}
}

// recall puts in what is known from before the host started. Whatever the plugin says takes its place.
func (t *jobTable) recall(list []*jobEntry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range list {
		t.jobs[e.ID] = &tableJob{jobEntry: e, copy: true}
	}
}

// accept takes a state of a job that came on the connection link. What is older than what is known is passed over.
func (t *jobTable) accept(e *jobEntry, link int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.acceptLocked(e, link, true)
}

// acceptLocked is accept; tell says whether subscribers get to hear of it.
func (t *jobTable) acceptLocked(e *jobEntry, link int, tell bool) error {
	if e.ID <= 0 || e.ID%jobStep != t.series {
		return fmt.Errorf("job %d is not of the series %d", e.ID, t.series)
	}
	old := t.jobs[e.ID]
	if old != nil && !old.copy {
		old.link = link
		switch {
		case e.rev < old.rev, e.rev == old.rev && (old.told || !tell):
			return nil
		case e.rev > old.rev && old.final():
			return fmt.Errorf("job %d was %s and is %s now", e.ID, old.State, e.State)
		}
	}
	t.jobs[e.ID] = &tableJob{jobEntry: e, told: tell, link: link}
	if old == nil || !old.copy || old.rev != e.rev || !bytes.Equal(old.fields, e.fields) {
		t.history.note(e, old != nil && old.State == e.State && !e.final())
	}
	if tell && !e.Transient {
		t.tellLocked(old, e)
	}
	t.wakeLocked(e.ID)
	if e.final() {
		t.pruneLocked()
	}
	return nil
}

// tellLocked publishes that old became e.
func (t *jobTable) tellLocked(old *tableJob, e *jobEntry) {
	if old != nil && old.told {
		t.publish(jobChange{"changed", e, old.State == e.State && !e.final()})
		return
	}
	t.publish(jobChange{"added", e, false})
	if e.final() {
		t.publish(jobChange{"changed", e, false}) // clients that wait for the end of a job look at changes only
	}
}

// merge takes the whole table of a plugin that has connected. Subscribers are told what has changed while there was no
// connection. Of a table that is seen for the first time they are told only what is not finished: the rest is history.
// Jobs that were under way and are not in the list have been forgotten by the plugin, and fail.
func (t *jobTable) merge(list []*jobEntry, link int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var fault error
	for _, e := range list {
		if err := t.acceptLocked(e, link, t.loaded || !e.final()); err != nil {
			fault = err
		}
	}
	t.loaded = true
	for _, id := range slices.Sorted(maps.Keys(t.jobs)) {
		switch j := t.jobs[id]; {
		case j.copy: // the plugin has begun anew, or keeps it no more
			delete(t.jobs, id)
			t.history.forget(id)
		case j.link < link && !j.final():
			t.forgetLocked(j, link)
		}
	}
	for id := range t.watchers {
		t.wakeLocked(id)
	}
	return fault
}

func (t *jobTable) forgetLocked(j *tableJob, link int) {
	job := j.wireJob
	job.fail(rpc.Errorf(rpc.EFAULT, "The plugin knows nothing of this job any more"))
	job.TimeFinished = mustJSON(rpc.Date(time.Now()))
	e := newEntry(job, j.rev, j.audience)
	t.jobs[e.ID] = &tableJob{jobEntry: e, told: true, link: link}
	t.history.note(e, false)
	if !e.Transient {
		t.tellLocked(j, e)
	}
}

// pruneLocked forgets the jobs that finished first. Transient ones are in no list any more, but somebody may be about to ask
// how one has ended.
func (t *jobTable) pruneLocked() {
	var finished []*tableJob
	for _, j := range t.jobs {
		if j.final() {
			finished = append(finished, j)
		}
	}
	if len(finished) <= keepJobs {
		return
	}
	slices.SortFunc(finished, func(a, b *tableJob) int { return cmp.Compare(a.rev, b.rev) })
	for _, j := range finished[:len(finished)-keepJobs] {
		delete(t.jobs, j.ID)
	}
}

// get finds a job.
func (t *jobTable) get(id int64) (*jobEntry, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	j, ok := t.jobs[id]
	if !ok {
		return nil, false
	}
	return j.jobEntry, true
}

// complete tells whether the table has been seen since the host started.
func (t *jobTable) complete() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.loaded
}

// list gives all jobs that clients may see, in no order.
func (t *jobTable) list() []*jobEntry {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]*jobEntry, 0, len(t.jobs))
	for _, j := range t.jobs {
		if !j.Transient || !j.final() {
			all = append(all, j.jobEntry)
		}
	}
	return all
}

// watch gives a channel that has a value after each change of the job, also of one that is not there yet. stop ends that.
func (t *jobTable) watch(id int64) (changed <-chan struct{}, stop func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := make(chan struct{}, 1)
	if t.watchers[id] == nil {
		t.watchers[id] = make(map[chan struct{}]bool)
	}
	t.watchers[id][c] = true
	return c, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.watchers[id], c)
		if len(t.watchers[id]) == 0 {
			delete(t.watchers, id)
		}
	}
}

// errLater means that a plugin cannot be asked now. When it is back, its whole table comes.
var errLater = errors.New("the plugin cannot be asked now")

// await waits for the end of a job. While the job is not known ask is to fetch it, now and each time the table has been seen
// anew; its error is await's, but for errLater.
func (t *jobTable) await(ctx context.Context, id int64, ask func() error) (*jobEntry, error) {
	changed, stop := t.watch(id)
	defer stop()
	for {
		e, known := t.get(id)
		if known && e.final() {
			return e, nil
		}
		if !known {
			err := ask()
			if err == nil {
				continue
			}
			if !errors.Is(err, errLater) {
				return nil, err
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (t *jobTable) wakeLocked(id int64) {
	for c := range t.watchers[id] {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// readEntries reads what plugin.jobs.list gives.
func readEntries(list []json.RawMessage) ([]*jobEntry, error) {
	all := make([]*jobEntry, 0, len(list))
	var fault error
	for _, data := range list {
		e, err := readEntry(data)
		if err != nil {
			fault = err
			continue
		}
		all = append(all, e)
	}
	return all, fault
}
