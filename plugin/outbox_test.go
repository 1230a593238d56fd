package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zferry/zferry/jobs"
	"github.com/zferry/zferry/methods"
)

// slowHost takes a notification whenever it is let.
type slowHost struct {
	let   chan struct{}
	noted chan struct{} // holds a value for each that was taken
	mu    sync.Mutex    // guards got
	got   []string
}

func newSlowHost() *slowHost {
	return &slowHost{let: make(chan struct{}), noted: make(chan struct{}, 1)}
}

func (h *slowHost) Notify(ctx context.Context, method string, params any) error {
	select {
	case <-h.let:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	text := method
	switch p := params.(type) {
	case message:
		text = fmt.Sprintf("job %d %s %s", p.Job.ID, p.Job.State, p.Job.Progress.Description)
	case eventMessage:
		text = fmt.Sprintf("event %s %s %d", p.Name, p.Msg, p.ID)
	case logLine:
		text = fmt.Sprintf("log %s %v", p.Message, p.Attrs["dropped"])
	}
	h.got = append(h.got, strings.TrimSpace(text))
	h.noted <- struct{}{}
	return nil
}

// until lets notifications through until one is last.
func (h *slowHost) until(last string) []string {
	for {
		if got := h.take(1); strings.HasPrefix(got[len(got)-1], last) {
			return got
		}
	}
}

// take lets n notifications through and returns all that have come.
func (h *slowHost) take(n int) []string {
	for range n {
		h.let <- struct{}{}
		<-h.noted
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.got...)
}

func job(id int64, state jobs.State, description string) jobs.Job {
	return jobs.Job{ID: id, State: state, Progress: jobs.Progress{Description: description}}
}

// serving runs the outbox for a host until stop.
func serving(o *outbox, h *slowHost) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background()) // ended by stop
	done := make(chan error, 1)
	go func() { done <- o.serve(ctx, h) }()
	return func() error {
		cancel()
		return <-done
	}
}

func TestOutboxMergesProgressAndKeepsStates(t *testing.T) {
	o, h := newOutbox(), newSlowHost()
	o.job(job(1, jobs.Waiting, ""))
	stop := serving(o, h)
	h.take(1) // it is open
	o.job(job(1, jobs.Running, ""))
	for i := range 50 {
		o.job(job(1, jobs.Running, fmt.Sprint(i)))
		o.job(job(17, jobs.Running, fmt.Sprint(i)))
	}
	o.event(methods.Event{Name: "replication.query", Msg: "changed", ID: 3})
	o.job(job(1, jobs.Running, "last"))
	o.job(job(1, jobs.Success, "done"))
	got := h.until("job 1 SUCCESS done")
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	// One notification may have been on its way before newer progress came.
	if len(got) > 6 {
		t.Errorf("progress was not merged: %q", got)
	}
	var states []string
	for _, line := range got {
		if strings.HasPrefix(line, "job 1 ") {
			states = append(states, strings.Fields(line)[2])
		}
	}
	if want := []string{"WAITING", "RUNNING", "SUCCESS"}; !slices.Equal(slices.Compact(states), want) {
		t.Errorf("states %q, want %q", states, want)
	}
	for _, want := range []string{"job 17 RUNNING 49", "event replication.query changed 3", "job 1 RUNNING last"} {
		if !slices.Contains(got, want) {
			t.Errorf("%q is not among %q", want, got)
		}
	}
}

func TestOutboxTellsTheNextHostWhatItMissed(t *testing.T) {
	o := newOutbox()
	first := newSlowHost()
	o.job(job(1, jobs.Running, ""))
	o.job(job(2, jobs.Running, ""))
	stop := serving(o, first)
	first.take(2)
	_ = stop()
	o.job(job(1, jobs.Failed, "cut"))
	o.job(job(2, jobs.Running, "half"))
	o.event(methods.Event{Name: "replication.query", Msg: "changed", ID: 3}) // who subscribes anew asks first

	second := newSlowHost()
	stop = serving(o, second)
	got := second.take(2)
	_ = stop()
	if diff := cmp.Diff([]string{"job 1 FAILED cut", "job 2 RUNNING half"}, got); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}

	third := newSlowHost()
	stop = serving(o, third)
	got = third.take(1)
	_ = stop()
	if diff := cmp.Diff([]string{"job 2 RUNNING half"}, got); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

func TestOutboxDropsLogLinesAndSaysSo(t *testing.T) {
	o, h := newOutbox(), newSlowHost()
	o.job(job(1, jobs.Running, ""))
	stop := serving(o, h)
	h.take(1)
	log := slog.New(logHandler{Handler: slog.DiscardHandler, outbox: o})
	if log.Enabled(t.Context(), slog.LevelInfo) {
		t.Fatal("the discarding handler takes lines")
	}
	handler := logHandler{Handler: slog.DiscardHandler, outbox: o}
	for i := range maxLogs + 10 {
		if err := handler.Handle(t.Context(), slog.Record{Message: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	h.until("log 900 ")
	if err := handler.Handle(t.Context(), slog.Record{Message: "after"}); err != nil {
		t.Fatal(err)
	}
	got := h.until("log after ")
	_ = stop()
	if last := got[len(got)-1]; last == "log after <nil>" {
		t.Errorf("nothing said of dropped lines: %q", last)
	}
}
