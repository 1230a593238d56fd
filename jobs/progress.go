package jobs

import (
	"bytes"
	"io"
	"time"
)

// interval is the least time between two events with progress of one job.
const interval = 250 * time.Millisecond

// Handle is what a Func has of its job.
type Handle struct {
	m *Manager
	e *entry
}

// ID returns the id of the job.
func (h *Handle) ID() int64 { return h.e.id }

// Progress reports how far the job has come. What is empty in p stays as it was. Clients see the first report at once, then
// the newest one four times a second at most. It does not block, and does nothing after the job has ended.
func (h *Handle) Progress(p Progress) {
	m, e := h.m, h.e
	m.mu.Lock()
	defer m.mu.Unlock()
	if e.settled || !e.job.Progress.take(p) {
		return
	}
	e.job.Rev = m.takeRevLocked()
	wait := interval - time.Since(e.shown)
	switch {
	case e.held != nil: // this report goes with the one that is held back
	case wait <= 0:
		m.showLocked(e)
	default:
		// Its goroutine does not block, and does nothing if it comes after the end of the job.
		e.held = time.AfterFunc(wait, func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			if !e.settled {
				m.showLocked(e)
			}
		})
	}
}

func (m *Manager) showLocked(e *entry) {
	e.held = nil
	e.shown = time.Now()
	m.publishLocked(e.job)
}

// take notes what is new in a report, and tells whether anything is.
func (p *Progress) take(report Progress) (changed bool) {
	if report.Percent != nil && (p.Percent == nil || *p.Percent != *report.Percent) {
		percent := *report.Percent // the caller may use its variable again
		p.Percent, changed = &percent, true
	}
	if report.Description != "" && p.Description != report.Description {
		p.Description, changed = report.Description, true
	}
	if len(report.Extra) > 0 && string(report.Extra) != "null" && !bytes.Equal(p.Extra, report.Extra) {
		p.Extra, changed = bytes.Clone(report.Extra), true
	}
	return changed
}

// Log returns the job's log, which takes whole lines, from any goroutine. Writing to it never fails: what does not fit is left
// out. It discards if the job has none. Nobody closes it.
func (h *Handle) Log() io.Writer {
	if h.e.log == nil {
		return io.Discard
	}
	return h.e.log
}
