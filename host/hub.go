package host

import (
	"encoding/json"
	"sync"

	"github.com/zferry/zferry/rpc"
)

// jobsCollection is the collection whose events are the jobs.
const jobsCollection = "core.get_jobs"

// publication is an event for whoever has subscribed to its collection and may see it.
type publication struct {
	rpc.Event
	audience audience
	job      int64 // the job that it is about, or 0
	progress bool  // nothing but progress of the job
}

// hub passes events on to sessions. Nothing in it waits for a client.
type hub struct {
	mu       sync.RWMutex // guards sessions
	sessions map[*session]func(code int, reason string)
}

func newHub() *hub { return &hub{sessions: make(map[*session]func(code int, reason string))} }

// add adds a session. cutOff closes its connection and does not wait.
func (h *hub) add(s *session, cutOff func(code int, reason string)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sessions[s] = cutOff
}

func (h *hub) remove(s *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.sessions, s)
}

// publish puts an event into the outbox of every session that it is for. Events that one goroutine publishes stay in order.
func (h *hub) publish(p publication) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	var params json.RawMessage
	for s, cutOff := range h.sessions {
		if !s.wants(&p) {
			continue
		}
		if params == nil {
			params = mustJSON(p.Event)
		}
		if !s.out.put(notice{method: "collection_update", params: params}, p.job, p.progress) {
			s.log.Warn("cut off a client that does not read")
			s.out.clear()
			cutOff(closeTryLater, "Too many events were not read")
		}
	}
}

// publishJob is what a job table does with a change.
func (h *hub) publishJob(c jobChange) {
	h.publish(publication{
		Event:    rpc.Event{Msg: c.msg, Collection: jobsCollection, ID: mustJSON(c.entry.ID), Fields: c.entry.fields},
		audience: c.entry.audience, job: c.entry.ID, progress: c.progress,
	})
}
