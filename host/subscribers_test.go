package host

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zferry/zferry/rpc"
)

// jobFollower is a client that holds what it is told of jobs against truenas-api.md 2.4.
type jobFollower struct {
	state                  map[int64]string
	wrong                  string
	added, progress, ended atomic.Int64
}

func (f *jobFollower) hear(_ context.Context, _ *rpc.Conn, r rpc.Request) {
	var e struct {
		Msg    string
		Fields struct {
			ID    int64
			State string
		}
	}
	if err := json.Unmarshal(r.Params, &e); err != nil {
		f.wrong = err.Error()
		return
	}
	before, known := f.state[e.Fields.ID]
	f.state[e.Fields.ID] = e.Fields.State
	switch {
	case e.Msg == "added" && !known:
		f.added.Add(1)
	case e.Msg == "changed" && before == stateRunning && e.Fields.State == stateRunning:
		f.progress.Add(1)
	case e.Msg == "changed" && before == stateRunning && e.Fields.State == stateSuccess:
		f.ended.Add(1)
	default:
		f.wrong = e.Msg + ": " + before + " became " + e.Fields.State
	}
}

// TestManySockets: many connections that have subscribed, of which one does not read, and 20 jobs with ten steps of progress a
// second each. Nobody gets more than ten frames of progress a second, everybody the beginning and the end of each job, in
// order, and the one that is stuck slows nobody.
func TestManySockets_2_4(t *testing.T) {
	noLeaks(t)
	const clients, jobs, steps = 100, 20, 12
	h := serve(t)
	p := h.plugin()
	h.slow() // reads no more
	followers := make([]*jobFollower, clients)
	for i := range followers {
		f := &jobFollower{state: make(map[int64]string)}
		followers[i] = f
		conn, err := rpc.Dial(t.Context(), h.socketURL(), rpc.DialOptions{}, rpc.Options{Notified: f.hear})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(0, "")
		(&testClient{Conn: conn, t: t}).subscribe(jobsCollection)
	}
	id := func(job int) int64 { return int64(1 + jobStep*job) }
	began := time.Now()
	for job := range jobs {
		p.tell(id(job), stateRunning)
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for step := range steps {
		for job := range jobs {
			p.tell(id(job), stateRunning, "progress", progress(step+1))
		}
		<-tick.C
	}
	for job := range jobs {
		p.tell(id(job), stateSuccess)
	}
	for i, f := range followers {
		eventually(t, "the ends of all jobs", func() bool { return f.ended.Load() == jobs })
		most := int64(time.Since(began)/progressInterval) + 1
		if got := f.progress.Load(); got == 0 || got > most || f.added.Load() != jobs || f.wrong != "" {
			t.Fatalf("client %d: %d frames of progress, at most %d; %d jobs added; %q", i, got, most, f.added.Load(), f.wrong)
		}
	}
	t.Logf("%v from the first event to the last, %v of it pauses", time.Since(began), steps*100*time.Millisecond)
}
