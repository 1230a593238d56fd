package jobs

import (
	"maps"
	"slices"
)

// The functions here need Manager.write, and that Manager.mu is not held.

// changeWriting changes a job: first in the store, so that nobody is told what a crash could undo, then for all to see. If the store
// does not take it, it is so all the same, and is written when the store works again.
func (m *Manager) changeWriting(e *entry, change func(*Job)) Job {
	m.mu.Lock()
	j := e.job
	change(&j)
	j.Rev = m.takeRevLocked()
	if j.State.Final() {
		e.settled = true
		if e.held != nil {
			e.held.Stop()
		}
	}
	m.mu.Unlock()

	if j.State.Final() && j.Transient {
		m.removeWriting([]int64{j.ID})
	} else {
		m.saveWriting(e, j)
	}

	m.mu.Lock()
	e.job = j
	m.publishLocked(j)
	if j.State.Final() {
		m.endLocked(e)
	}
	m.mu.Unlock()
	if j.State.Final() {
		m.forgetWriting()
	}
	return j
}

// endLocked notes that a job has ended: its lock goes to the next, and who waits for it is told.
func (m *Manager) endLocked(e *entry) {
	if e.job.Transient {
		delete(m.jobs, e.job.ID)
	} else {
		m.history = append(m.history, e.job.ID)
	}
	m.unlockLocked(e)
	close(e.done)
}

// saveWriting writes a job into the store, and others that it did not take before.
func (m *Manager) saveWriting(e *entry, j Job) {
	delete(m.unsaved, j.ID)
	if err := m.update(j); err != nil {
		m.unsaved[j.ID] = e
		m.cfg.Log.Error("job cannot be stored, its state is kept in memory", "job", j.ID, "state", j.State, "error", err)
		return
	}
	m.retryWriting()
}

// retryWriting writes what the store did not take before.
func (m *Manager) retryWriting() {
	for _, id := range slices.Sorted(maps.Keys(m.unsaved)) {
		m.mu.Lock()
		j := m.unsaved[id].job
		m.mu.Unlock()
		if m.update(j) == nil {
			delete(m.unsaved, id)
		}
	}
}

// forgetWriting removes jobs beyond those that are to be kept, with their logs.
func (m *Manager) forgetWriting() {
	m.mu.Lock()
	n := max(0, len(m.history)-m.cfg.Keep)
	old := slices.Clone(m.history[:n])
	m.history = slices.Delete(m.history, 0, n)
	for _, id := range old {
		delete(m.jobs, id)
	}
	m.mu.Unlock()
	if len(old) > 0 {
		m.removeWriting(old)
	}
}

// removeWriting deletes jobs from the store, and their logs. What cannot be deleted now is when the program starts again.
func (m *Manager) removeWriting(ids []int64) {
	for _, id := range ids {
		delete(m.unsaved, id)
	}
	if err := m.remove(ids); err != nil {
		m.cfg.Log.Warn("old jobs cannot be deleted yet", "count", len(ids), "error", err)
		return
	}
	for _, id := range ids {
		m.removeLog(id)
	}
}
