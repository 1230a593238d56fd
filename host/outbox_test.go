package host

import (
	"encoding/json"
	"fmt"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/zferry/zferry/rpc"
)

// TestOutboxOrder_2_4: what comes out, and when, of what was put in at certain times.
func TestOutboxOrder_2_4(t *testing.T) {
	type step struct {
		after    time.Duration
		what     string
		job      int64
		progress bool
	}
	tests := map[string]struct {
		put  []step
		want []string
	}{
		"a state is held up by nothing": {
			put:  []step{{0, "added 1", 1, false}, {0, "running 1", 1, false}, {0, "done 1", 1, false}},
			want: []string{"0s added 1", "0s running 1", "0s done 1"},
		},
		"progress is": {
			put:  []step{{0, "added 1", 1, false}, {0, "1%", 1, true}, {10 * time.Millisecond, "2%", 1, true}, {10 * time.Millisecond, "3%", 1, true}},
			want: []string{"0s added 1", "0s 1%", "100ms 3%"},
		},
		"jobs take turns": {
			put: []step{
				{0, "a1", 1, true},
				{10 * time.Millisecond, "a2", 1, true},
				{0, "b2", 2, true},
				{0, "c2", 3, true},
				{100 * time.Millisecond, "a3", 1, true},
			},
			want: []string{"0s a1", "100ms a2", "200ms b2", "300ms c2", "400ms a3"},
		},
		"the end takes the place of progress that waits": {
			put:  []step{{0, "1%", 1, true}, {0, "x%", 2, true}, {time.Millisecond, "2%", 1, true}, {time.Millisecond, "done 1", 1, false}},
			want: []string{"0s 1%", "2ms done 1", "100ms x%"},
		},
		"progress does not overtake what was told before": {
			put:  []step{{0, "event", 0, false}, {0, "added 1", 1, false}, {0, "1%", 1, true}, {0, "event 2", 0, false}},
			want: []string{"0s event", "0s added 1", "0s 1%", "0s event 2"},
		},
		"after a pause it goes out at once": {
			put:  []step{{0, "1%", 1, true}, {time.Second, "2%", 1, true}},
			want: []string{"0s 1%", "1s 2%"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, began := newOutbox(maxNoticeBytes), time.Now()
				var got []string
				stop := make(chan bool)
				go drain(o, stop, func(n notice) { got = append(got, fmt.Sprint(time.Since(began), " ", string(n.params))) })
				o.hold() // what is put at one time is there when the first is taken
				for i, s := range tt.put {
					if s.after > 0 || i == 0 {
						o.release()
						synctest.Wait()
						time.Sleep(s.after)
						o.hold()
					}
					o.put(notice{params: []byte(s.what)}, s.job, s.progress)
				}
				o.release()
				time.Sleep(time.Minute)
				synctest.Wait()
				close(stop)
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("what came out (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// drain takes from the outbox as a session does.
func drain(o *outbox, stop <-chan bool, f func(notice)) {
	for {
		if n, ok := o.take(); ok {
			f(n)
			continue
		}
		select {
		case <-o.more:
		case <-stop:
			return
		}
	}
}

// said is something put into an outbox: state is 0 for progress.
type said struct{ Job, N, State int }

// action is one thing to do with an outbox: to wait, or else to put something in, or else to take something out.
type action struct {
	pause time.Duration
	put   *said
}

// TestOutbox_2_4 holds the outbox against its rules: of each job the changes of state come, all of them and in order; progress
// that is older than what came never does, the newest always does, and there are no more than ten of it in any second.
func TestOutbox_2_4(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var script []action
		states := make(map[int]int)
		for n := range rapid.IntRange(0, 200).Draw(r, "steps") {
			var a action
			switch rapid.IntRange(0, 3).Draw(r, "step") {
			case 0:
			case 1:
				a.pause = time.Duration(rapid.IntRange(1, 150).Draw(r, "pause")) * time.Millisecond
			default:
				a.put = &said{Job: rapid.IntRange(1, 3).Draw(r, "job"), N: n + 1}
				if rapid.Bool().Draw(r, "state") {
					states[a.put.Job]++
					a.put.State = states[a.put.Job]
				}
			}
			script = append(script, a)
		}
		var fault string
		synctest.Test(t, func(*testing.T) { fault = playOutbox(script) })
		if fault != "" {
			r.Fatal(fault)
		}
	})
}

// playOutbox does what the script says, takes the rest, and tells what was wrong.
func playOutbox(script []action) (fault string) {
	o := newOutbox(maxNoticeBytes)
	var changes, got []said
	var sent []time.Time // of progress
	put, seen := make(map[int]int), make(map[int]int)
	take := func() bool {
		n, ok := o.take()
		if !ok {
			return false
		}
		var s said
		if err := json.Unmarshal(n.params, &s); err != nil || s.N <= seen[s.Job] {
			fault = fmt.Sprintf("job %d: %d after %d (%v)", s.Job, s.N, seen[s.Job], err)
		}
		seen[s.Job] = s.N
		if s.State > 0 {
			got = append(got, s)
		} else {
			sent = append(sent, time.Now())
		}
		return true
	}
	for _, a := range script {
		switch {
		case a.pause > 0:
			time.Sleep(a.pause)
		case a.put == nil:
			take()
		default:
			if a.put.State > 0 {
				changes = append(changes, *a.put)
			}
			put[a.put.Job] = a.put.N
			if !o.put(notice{params: mustJSON(a.put)}, int64(a.put.Job), a.put.State == 0) {
				return "no room"
			}
		}
	}
	for len(o.waiting)+len(o.jobs) > 0 {
		if take() {
			continue
		}
		if len(o.waiting) > 0 {
			return "what is no progress is held up"
		}
		time.Sleep(progressInterval)
	}
	for i := 10; i < len(sent); i++ {
		if sent[i].Sub(sent[i-10]) < time.Second {
			return fmt.Sprintf("eleven notices of progress in %v", sent[i].Sub(sent[i-10]))
		}
	}
	switch diff := cmp.Diff(changes, got); {
	case diff != "":
		return "changes of state (-want +got):\n" + diff
	case !maps.Equal(put, seen):
		return fmt.Sprintf("the newest of each job: %v, and %v was put", seen, put)
	case o.bytes != 0 || len(o.progress) != 0:
		return fmt.Sprintf("an empty outbox has %d bytes and progress of %d jobs", o.bytes, len(o.progress))
	}
	return fault
}

// subscriber counts what a session is told of jobs, and holds it against the order of 2.4.
type subscriber struct {
	last                   map[string]string // of each job
	progress, ended, wrong int
}

func (s *subscriber) hear(n notice) {
	var e rpc.Event
	if err := json.Unmarshal(n.params, &e); err != nil {
		s.wrong++
		return
	}
	before, job := s.last[string(e.ID)], string(e.ID)
	s.last[job] = e.Msg
	switch {
	case e.Msg == "added" && before == "":
	case e.Msg == "changed" && (before == "added" || before == "changed"):
		s.progress++
	case e.Msg == "removed" && before != "" && before != "removed": // which stands for the end here
		s.ended++
	default:
		s.wrong++
	}
}

// TestManySubscribers_2_4: 1,000 sessions, 20 jobs with ten steps of progress a second each, and some sessions do not read. The
// others get ten frames of progress a second, and of each job the beginning and the end.
func TestManySubscribers_2_4(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const sessions, stuck, jobs, seconds = 1000, 3, 20, 2
		hub := newHub()
		stop := make(chan bool)
		defer close(stop)
		var all []*subscriber
		for i := range sessions {
			s := &session{out: newOutbox(maxNoticeBytes), who: &identity{admin: true}, subscriptions: map[string]string{"x": jobsCollection}}
			hub.add(s, func(int, string) { t.Error("somebody was cut off") })
			if i >= stuck {
				all = append(all, &subscriber{last: make(map[string]string)})
				go drain(s.out, stop, all[i-stuck].hear)
			}
		}
		tell := func(msg string) {
			for job := range int64(jobs) {
				hub.publish(publication{
					Event: rpc.Event{Msg: msg, Collection: jobsCollection, ID: mustJSON(job + 1)},
					job:   job + 1, progress: msg == "changed",
				})
			}
		}
		tell("added")
		for range 10 * seconds {
			tell("changed")
			time.Sleep(100 * time.Millisecond)
		}
		tell("removed")
		synctest.Wait()
		for i, s := range all {
			if s.wrong > 0 || s.ended != jobs || s.progress < 10*seconds-1 || s.progress > 10*seconds+1 {
				t.Fatalf("session %d got %d steps of progress and %d ends, %d of all out of order", i, s.progress, s.ended, s.wrong)
			}
		}
	})
}

// BenchmarkPublish is a step of progress of one of 20 jobs, for 1,000 sessions that wait for their turn.
func BenchmarkPublish(b *testing.B) {
	hub := newHub()
	for range 1000 {
		s := &session{out: newOutbox(maxNoticeBytes), who: &identity{admin: true}, subscriptions: map[string]string{"x": jobsCollection}}
		hub.add(s, func(int, string) {})
	}
	fields := mustJSON(wireJob{Progress: noProgress()})
	for i := range b.N {
		hub.publish(publication{
			Event: rpc.Event{Msg: "changed", Collection: jobsCollection, ID: mustJSON(1), Fields: fields},
			job:   int64(i%20) + 1, progress: true,
		})
	}
}
