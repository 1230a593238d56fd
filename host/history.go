package host

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/zferry/zferry/host/state"
)

const (
	// historySoon is how long a change of state may wait for others to be written with it, and historyLate how long progress.
	historySoon = 200 * time.Millisecond
	historyLate = 10 * time.Second
	// maxUnkept is how many jobs are remembered that could not be written.
	maxUnkept = 5 * keepJobs
)

// history keeps the host's copy of job tables on disk, for core.get_jobs right after a start. It is behind by as much as it
// takes to write many changes at once: a plugin knows its jobs better, and tells when it is there.
type history struct {
	store *state.Store
	log   *slog.Logger
	soon  chan struct{} // has a value when something is to be written that should not wait long

	mu      sync.Mutex // guards the fields below
	changed map[int64]*jobEntry
	gone    map[int64]bool
}

func newHistory(store *state.Store, log *slog.Logger) *history {
	return &history{
		store: store, log: log, soon: make(chan struct{}, 1),
		changed: make(map[int64]*jobEntry), gone: make(map[int64]bool),
	}
}

// note takes a new state of a job. It does not wait, and may be called while a table is locked.
func (h *history) note(e *jobEntry, progress bool) {
	if h == nil || e.Transient {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.gone, e.ID)
	h.changed[e.ID] = e
	if !progress {
		h.hurry()
	}
}

// forget takes that a job is none any more. Like note it does not wait.
func (h *history) forget(id int64) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.changed, id)
	h.gone[id] = true
	h.hurry()
}

func (h *history) hurry() {
	select {
	case h.soon <- struct{}{}:
	default:
	}
}

// run writes to the end of ctx.
func (h *history) run(ctx context.Context) {
	late := time.NewTicker(historyLate)
	defer late.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-late.C:
		case <-h.soon:
			select {
			case <-ctx.Done():
				return
			case <-time.After(historySoon):
			}
		}
		h.flush(ctx)
	}
}

// flush writes what was noted.
func (h *history) flush(ctx context.Context) {
	h.mu.Lock()
	changed, gone := h.changed, h.gone
	h.changed, h.gone = make(map[int64]*jobEntry), make(map[int64]bool)
	h.mu.Unlock()
	if len(changed)+len(gone) == 0 {
		return
	}
	jobs := make([]state.Job, 0, len(changed))
	for _, e := range changed {
		jobs = append(jobs, state.Job{ID: e.ID, Series: e.ID % jobStep, Rev: e.rev, Final: e.final(), Data: e.kept()})
	}
	ids := make([]int64, 0, len(gone))
	for id := range gone {
		ids = append(ids, id)
	}
	if err := h.store.KeepJobs(ctx, jobs, ids, keepJobs); err != nil {
		h.log.Warn("the history of jobs could not be written, it is tried again", "jobs", len(jobs), "err", err)
		h.putBack(changed, gone)
	}
}

// putBack takes what could not be written, unless something newer was noted since. Beyond a limit it is given up: the plugin
// still has it.
func (h *history) putBack(changed map[int64]*jobEntry, gone map[int64]bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, e := range changed {
		if h.changed[id] == nil && !h.gone[id] && len(h.changed) < maxUnkept {
			h.changed[id] = e
		}
	}
	for id := range gone {
		if h.changed[id] == nil {
			h.gone[id] = true
		}
	}
}

// load gives what was kept, by series. A job that cannot be read is left out.
func (h *history) load(ctx context.Context) (map[int64][]*jobEntry, error) {
	kept, err := h.store.Jobs(ctx)
	if err != nil {
		return nil, err
	}
	all := make(map[int64][]*jobEntry)
	for _, k := range kept {
		e, err := readEntry(k.Data)
		if err != nil {
			h.log.Warn("a job of the history cannot be read", "job", k.ID, "err", err)
			continue
		}
		all[k.Series] = append(all[k.Series], e)
	}
	return all, nil
}

// kept is the job as it is written to disk: as core.get_jobs shows it, without secrets, and in the form of docs/host-protocol.md.
func (e *jobEntry) kept() []byte {
	f := jobFrame{Audience: e.audience}
	f.Job.wireJob, f.Job.Rev = e.wireJob, e.rev
	f.Job.Arguments, f.Job.Result = redactCall(e.Method, e.Arguments), redact(e.Result)
	f.Job.Progress = redact(e.Progress)
	return mustJSON(f)
}
