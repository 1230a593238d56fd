package jobs

import (
	"context"
	"encoding/json"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestProgressIsThrottled: the first report comes at once, then four in a second at most, the newest at the end of each
// interval even if no other follows, and the final event last.
func TestProgressIsThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type event struct {
			At      time.Duration
			State   State
			Percent int
		}
		var got []event
		begin := time.Now()
		m, _ := open(t, Config{Publish: func(j Job) {
			got = append(got, event{time.Since(begin), j.State, *j.Progress.Percent})
		}})
		j := start(t, m, Spec{Run: func(_ context.Context, h *Handle) (any, error) {
			for i := range 10 { // 10 at 0 ms, 20 at 100 ms … 100 at 900 ms
				h.Progress(Progress{Percent: Percent(10*float64(i) + 10)})
				time.Sleep(100 * time.Millisecond)
			}
			time.Sleep(time.Second)
			h.Progress(Progress{Percent: Percent(50)})
			h.Progress(Progress{Percent: Percent(60)})
			h.Progress(Progress{Percent: Percent(70)})
			return nil, nil
		}})
		wait(t, m, j.ID)
		time.Sleep(time.Second)
		ms := time.Millisecond
		want := []event{
			{0, Waiting, 0},
			{0, Running, 0},
			{0, Running, 10},
			{250 * ms, Running, 30},
			{500 * ms, Running, 60}, // the report of that moment came just before or after
			{750 * ms, Running, 80},
			{1000 * ms, Running, 100},
			{2000 * ms, Running, 50},
			{2000 * ms, Success, 100}, // and what was held back is in it
		}
		for i := range got {
			if i < len(want) && got[i].At == 500*ms && got[i].Percent == 50 {
				want[i].Percent = 50
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

// TestProgressMerges: what is empty in a report stays, what does not change anything is no event.
func TestProgressMerges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []Job
		m, _ := open(t, Config{Publish: func(j Job) { seen = append(seen, j) }})
		var late *Handle
		reports := []Progress{
			{Percent: Percent(12.9), Description: "one", Extra: json.RawMessage(`{"a":1}`)},
			{},
			{Percent: Percent(12), Description: "one"},
			{Description: "two"},
			{Extra: json.RawMessage(`null`)},
			{Extra: json.RawMessage(`{"a":2}`)},
			{Percent: Percent(5)},
		}
		j := start(t, m, Spec{Run: func(_ context.Context, h *Handle) (any, error) {
			late = h
			for _, p := range reports {
				h.Progress(p)
				time.Sleep(time.Second)
			}
			return nil, nil
		}})
		last := wait(t, m, j.ID)
		late.Progress(Progress{Description: "too late"})
		time.Sleep(time.Second)

		raw := func(s string) json.RawMessage { return json.RawMessage(s) }
		want := []Progress{
			{Percent: Percent(0)},
			{Percent: Percent(0)},
			{Percent: Percent(12), Description: "one", Extra: raw(`{"a":1}`)},
			{Percent: Percent(12), Description: "two", Extra: raw(`{"a":1}`)},
			{Percent: Percent(12), Description: "two", Extra: raw(`{"a":2}`)},
			{Percent: Percent(5), Description: "two", Extra: raw(`{"a":2}`)},
			{Percent: Percent(100), Description: "two", Extra: raw(`{"a":2}`)},
		}
		got := make([]Progress, 0, len(seen))
		for _, j := range seen {
			got = append(got, j.Progress)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("progress (-want +got):\n%s", diff)
		}
		if now, _ := m.Get(j.ID); now.Rev != last.Rev {
			t.Error("a report after the end changes the job")
		}
		if !slices.IsSortedFunc(seen, func(a, b Job) int { return int(a.Rev) - int(b.Rev) }) {
			t.Error("revs go back")
		}
	})
}

func TestPercent(t *testing.T) {
	for share, want := range map[float64]int{0: 0, 99.99: 99, -3: 0, 1e9: 100, math.Inf(1): 100, math.Inf(-1): 0} {
		if got := Percent(share); got == nil || *got != want {
			t.Errorf("Percent(%v) = %v, want %d", share, got, want)
		}
	}
	if Percent(math.NaN()) != nil {
		t.Error("no number has a percentage")
	}
}
