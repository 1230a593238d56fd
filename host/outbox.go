package host

import (
	"encoding/json"
	"slices"
	"sync"
	"time"
)

// What may wait for a client that does not read. A client that is further behind is cut off: it could not catch up, and
// leaving out what it waits for would deceive it.
const (
	maxNotices     = 10_000
	maxNoticeBytes = 32 << 20
)

// progressInterval is the least time between two notices of progress, of whatever jobs: a client gets ten a second.
const progressInterval = 100 * time.Millisecond

// notice is a notification for a client.
type notice struct {
	method string
	params json.RawMessage
	place  uint64 // in the order in which notices were put
	stale  bool   // progress with a newer state of the job behind it
}

// outbox is what a client has not been sent yet. Putting something in never waits. Progress is given out at a limited rate,
// and while it waits, for that or for a slow client, newer progress of the job takes its place. With a change of the job's state
// behind it, which tells the progress too, it goes out at once or not at all: everything else is kept, in its order, and
// is held up by no progress.
type outbox struct {
	more chan struct{} // has a value when there may be something to take
	most int           // bytes that may wait

	mu       sync.Mutex // guards the fields below
	waiting  []*notice
	bytes    int
	held     int               // how many answers are to go out before anything here
	last     uint64            // place of the last notice
	progress map[int64]*notice // the progress that waits, by job
	jobs     []int64           // whose progress waits, the longest first
	due      time.Time         // before this no progress is given out
	alarm    bool              // more is going to have a value at that time
}

func newOutbox(most int) *outbox {
	return &outbox{more: make(chan struct{}, 1), most: most, progress: make(map[int64]*notice)}
}

// put adds a notice about the job (0: about something else) and tells whether there was room for it.
func (o *outbox) put(n notice, job int64, progress bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if older := o.progress[job]; older != nil {
		if progress {
			o.bytes += len(n.params) - len(older.params)
			older.params = n.params
			return o.bytes <= o.most
		}
		older = o.pickLocked(job)
		o.last++
		older.stale, older.place = true, o.last
		o.appendLocked(older)
	}
	o.last++
	n.place = o.last
	if progress {
		o.progress[job] = &n
		o.jobs = append(o.jobs, job)
		o.bytes += len(n.params)
	} else {
		o.appendLocked(&n)
	}
	o.wake()
	return len(o.waiting)+len(o.jobs) <= maxNotices && o.bytes <= o.most
}

func (o *outbox) appendLocked(n *notice) {
	o.waiting = append(o.waiting, n)
	o.bytes += len(n.params)
}

// pickLocked removes the progress of a job that waits, and returns it.
func (o *outbox) pickLocked(job int64) *notice {
	n := o.progress[job]
	delete(o.progress, job)
	i := slices.Index(o.jobs, job)
	o.jobs = slices.Delete(o.jobs, i, i+1)
	o.bytes -= len(n.params)
	return n
}

// take removes the notice that is due next.
func (o *outbox) take() (notice, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.held > 0 {
		return notice{}, false
	}
	for {
		switch {
		case o.progressNextLocked():
			o.due = time.Now().Add(progressInterval)
			return *o.pickLocked(o.jobs[0]), true
		case len(o.waiting) == 0:
			return notice{}, false
		}
		n := o.waiting[0]
		o.waiting[0] = nil // or the array would keep it
		o.waiting = o.waiting[1:]
		o.bytes -= len(n.params)
		if !n.stale {
			return *n, true
		}
		if now := time.Now(); !now.Before(o.due) {
			o.due = now.Add(progressInterval)
			return *n, true
		}
	}
}

// progressNextLocked tells whether progress is to be taken next. If only its time has not come yet, it sees to it that more
// has a value then.
func (o *outbox) progressNextLocked() bool {
	if len(o.jobs) == 0 || len(o.waiting) > 0 && o.waiting[0].place < o.progress[o.jobs[0]].place {
		return false
	}
	wait := time.Until(o.due)
	if wait <= 0 {
		return true
	}
	if !o.alarm {
		o.alarm = true
		time.AfterFunc(wait, func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.alarm = false
			o.wake()
		})
	}
	return false
}

// wake says that there may be something to take.
func (o *outbox) wake() {
	select {
	case o.more <- struct{}{}:
	default:
	}
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
	o.wake()
}

// clear forgets what waits.
func (o *outbox) clear() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting, o.jobs, o.bytes = nil, nil, 0
	clear(o.progress)
}
