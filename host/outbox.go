package host

import (
	"encoding/json"
	"sync"
)

// What may wait for a client that does not read. A client that is further behind is cut off: it could not catch up, and
// leaving out what it waits for would deceive it.
const (
	maxNotices     = 10_000
	maxNoticeBytes = 32 << 20
)

// notice is a notification for a client.
type notice struct {
	method string
	params json.RawMessage
	job    int64 // the job whose progress this is, and nothing else; 0 if it is anything else
}

// outbox is what a client has not been sent yet. Putting something in never waits. Progress of a job takes the place of older
// progress that still waits, so a slow client gets less of it, and one might be given progress less often by having next
// hold it back; everything else is kept, in its order.
type outbox struct {
	more chan struct{} // has a value when there may be something to take
	most int           // bytes that may wait

	mu       sync.Mutex // guards the fields below
	waiting  []*notice
	bytes    int
	held     int               // how many answers are to go out before anything here
	progress map[int64]*notice // of each job the progress that waits with nothing newer of that job behind it
}

func newOutbox(most int) *outbox {
	return &outbox{more: make(chan struct{}, 1), most: most, progress: make(map[int64]*notice)}
}

// put adds a notice about the job (0: about something else) and tells whether there was room for it.
func (o *outbox) put(n notice, job int64, progress bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	older := o.progress[job]
	if progress && older != nil {
		o.bytes += len(n.params) - len(older.params)
		older.params = n.params
		return o.bytes <= o.most
	}
	if job != 0 {
		// Newer state of the job stands behind it now, so that its place must not be taken by what is newer still.
		delete(o.progress, job)
	}
	if progress {
		n.job = job
		o.progress[job] = &n
	}
	o.waiting = append(o.waiting, &n)
	o.bytes += len(n.params)
	select {
	case o.more <- struct{}{}:
	default:
	}
	return len(o.waiting) <= maxNotices && o.bytes <= o.most
}

// take removes the notice that is due next.
func (o *outbox) take() (notice, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.held > 0 || len(o.waiting) == 0 {
		return notice{}, false
	}
	n := o.waiting[0]
	o.waiting[0] = nil // or the array would keep it
	o.waiting = o.waiting[1:]
	o.bytes -= len(n.params)
	if n.job != 0 && o.progress[n.job] == n {
		delete(o.progress, n.job)
	}
	return *n, true
}

// hold keeps everything back until release, for an answer that must go out before.
func (o *outbox) hold() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held++
}

func (o *outbox) release() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held--
	select {
	case o.more <- struct{}{}:
	default:
	}
}

// clear forgets what waits.
func (o *outbox) clear() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting, o.bytes = nil, 0
	clear(o.progress)
}
