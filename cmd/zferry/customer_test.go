package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zferry/zferry/rpc"
)

// seeded gives the source of chance of a test, which a failure can be repeated with.
func seeded(t testing.TB, name uint64) *rand.Rand {
	t.Helper()
	seed, err := strconv.ParseUint(cmp.Or(os.Getenv("ZFERRY_SEED"), "1"), 10, 64)
	if err != nil {
		t.Fatalf("ZFERRY_SEED: %v", err)
	}
	t.Logf("ZFERRY_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, name))
}

// customerJob is what a client reads of a job when it wants to know whether it is still the same.
type customerJob struct {
	ID          int64           `json:"id"`
	Method      string          `json:"method"`
	Arguments   json.RawMessage `json:"arguments"`
	Credentials json.RawMessage `json:"credentials"`
	Started     json.RawMessage `json:"time_started"`
	State       string          `json:"state"`
	Error       *string         `json:"error"`
}

func (j *customerJob) final() bool {
	return j.State == "SUCCESS" || j.State == "FAILED" || j.State == "ABORTED"
}

// identity is what never changes about a job. Members of objects may stand in any order.
func (j *customerJob) identity() string {
	parts := []string{j.Method}
	for _, raw := range []json.RawMessage{j.Arguments, j.Credentials, j.Started} {
		var v any
		if err := json.Unmarshal(raw, &v); err != nil {
			return "not JSON: " + string(raw)
		}
		text, err := json.Marshal(v)
		if err != nil {
			return err.Error()
		}
		parts = append(parts, string(text))
	}
	return strings.Join(parts, " ")
}

// customer is a client that starts runs, and remembers everything that it is ever told.
type customer struct {
	t      testing.TB
	client *rpc.Client
	task   int64
	chance *rand.Rand // of the goroutine of live

	mu       sync.Mutex // guards the fields below
	seen     map[int64]string
	ended    map[int64]string // the final state
	given    map[int64]string // the arguments of the call that was answered with this id
	unsure   map[string]int   // calls that may have made a job, by arguments
	refused  map[string]int   // calls that were answered with an error
	faults   []string
	lastCall int64 // the argument of a call that no other call has
}

func newCustomer(t testing.TB, url string, task int64) *customer {
	c := &customer{
		t: t, task: task, chance: seeded(t, 2), seen: make(map[int64]string), ended: make(map[int64]string), given: make(map[int64]string),
		unsure: make(map[string]int), refused: make(map[string]int), lastCall: 1_000_000,
	}
	c.client = rpc.NewClient(rpc.ClientOptions{URL: url, OnEvent: c.event})
	t.Cleanup(c.client.Close)
	return c
}

func (c *customer) faultLocked(format string, args ...any) {
	if len(c.faults) < 20 {
		c.faults = append(c.faults, fmt.Sprintf(format, args...))
	}
}

func (c *customer) event(e rpc.Event) {
	var j customerJob
	if e.Collection != "core.get_jobs" {
		return
	}
	err := json.Unmarshal(e.Fields, &j)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.faultLocked("event %s: %v", e.Fields, err)
		return
	}
	c.observeLocked(j)
}

// observeLocked holds what is said of a job against what was said before.
func (c *customer) observeLocked(j customerJob) {
	now := j.identity()
	if before, known := c.seen[j.ID]; known && before != now {
		c.faultLocked("job %d was %s and is %s", j.ID, before, now)
	}
	c.seen[j.ID] = now
	if j.Error != nil && strings.Contains(*j.Error, "knows nothing of this job") {
		c.faultLocked("job %d is lost: %s", j.ID, *j.Error)
	}
	before, ended := c.ended[j.ID]
	switch {
	case ended && before != j.State && j.final():
		c.faultLocked("job %d had ended as %s and ends as %s", j.ID, before, j.State)
	case j.final():
		c.ended[j.ID] = j.State
	}
}

// live starts runs, and jobs whose arguments no other job has, until ctx ends.
func (c *customer) live(ctx context.Context) {
	for c.client.Subscribe(ctx, "core.get_jobs") != nil && ctx.Err() == nil {
		wait(ctx, 20*time.Millisecond)
	}
	for ctx.Err() == nil {
		c.act(ctx)
		wait(ctx, time.Duration(c.chance.IntN(400))*time.Millisecond)
	}
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (c *customer) act(ctx context.Context) {
	switch dice := c.chance.IntN(100); {
	case dice < 45:
		c.start(ctx, c.task)
	case dice < 75:
		c.mu.Lock()
		c.lastCall++
		unique := c.lastCall
		c.mu.Unlock()
		c.start(ctx, unique)
	case dice < 93:
		if _, err := c.look(ctx); err != nil {
			c.refuse(err)
		}
	default:
		c.abort(ctx)
	}
}

// start starts a run and notes what becomes of the call.
func (c *customer) start(ctx context.Context, task int64) {
	arguments := fmt.Sprintf("[%d]", task)
	var id int64
	err := c.client.Call(ctx, "replication.run", []any{task}, &id)
	c.mu.Lock()
	defer c.mu.Unlock()
	var call *rpc.CallError
	switch {
	case err == nil:
		if before, known := c.given[id]; known {
			c.faultLocked("job %d was given for %s and for %s", id, before, arguments)
		}
		c.given[id] = arguments
	case ctx.Err() != nil, errors.Is(err, rpc.ErrOutcomeUnknown):
		c.unsure[arguments]++
	case errors.As(err, &call) && call.Errno == rpc.EAGAIN:
		c.refused["EAGAIN"]++ // nothing was done
	default:
		c.faultLocked("replication.run %d: %v", task, err)
	}
}

func (c *customer) refuse(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !errors.Is(err, context.Canceled) && !errors.Is(err, rpc.ErrOutcomeUnknown) {
		c.faultLocked("core.get_jobs: %v", err)
	}
}

// look reads the whole table.
func (c *customer) look(ctx context.Context) ([]customerJob, error) {
	var all []customerJob
	if err := c.client.Call(ctx, "core.get_jobs", nil, &all); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	present := make(map[int64]bool)
	for _, j := range all {
		if present[j.ID] {
			c.faultLocked("job %d stands twice in the table", j.ID)
		}
		present[j.ID] = true
		c.observeLocked(j)
	}
	return all, nil
}

// abort aborts the newest job that has not ended.
func (c *customer) abort(ctx context.Context) {
	c.mu.Lock()
	var newest int64
	for id := range c.given {
		if _, ended := c.ended[id]; !ended {
			newest = max(newest, id)
		}
	}
	c.mu.Unlock()
	if newest != 0 {
		_ = c.client.Call(ctx, "core.job_abort", []any{newest}, nil) // whatever becomes of it, the job ends in one way
	}
}

// settle waits until no job is under way and those that were seen are in the table. After a start of the host that is no sign of the
// plugin: the host has a copy of its table.
func (c *customer) settle() []customerJob {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.t.Context()), patience)
	defer cancel()
	for {
		all, err := c.look(ctx)
		if err != nil && !errors.Is(err, rpc.ErrOutcomeUnknown) { // the connection was of before the last kill
			c.t.Fatal(err)
		}
		open := slices.DeleteFunc(slices.Clone(all), func(j customerJob) bool { return j.final() })
		c.mu.Lock()
		seen := len(c.seen)
		c.mu.Unlock()
		if len(open) == 0 && len(all) >= seen {
			return all
		}
		if wait(ctx, 20*time.Millisecond); ctx.Err() != nil || c.t.Failed() {
			c.t.Errorf("%d jobs are in the table, %d were seen, these have not ended: %+v", len(all), seen, open)
			return all
		}
	}
}

// finish runs the task a last time, which must succeed.
func (c *customer) finish() {
	c.t.Helper()
	c.settle()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.t.Context()), patience)
	defer cancel()
	for answers := c.answers(); c.answers() == answers && ctx.Err() == nil; wait(ctx, 20*time.Millisecond) {
		c.start(ctx, c.task) // refused until the plugin has registered
	}
	all := c.settle()
	c.mu.Lock()
	defer c.mu.Unlock()
	last := slices.Max(slices.Collect(maps.Keys(c.given)))
	for _, j := range all {
		if j.ID == last && j.State != "SUCCESS" {
			c.faultLocked("the last run, job %d, ends as %s: %s", last, j.State, orNothing(j.Error))
		}
	}
}

// answers is how many calls were answered with a job.
func (c *customer) answers() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.given)
}

// check holds the table at the end against everything that was seen.
func (c *customer) check(all []customerJob) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	count := make(map[string]int) // jobs that somebody has started, by arguments
	present := make(map[int64]customerJob)
	for _, j := range all {
		present[j.ID] = j
		if string(j.Credentials) != "null" {
			count[compact(j.Arguments)]++
		}
	}
	for id, identity := range c.seen {
		if _, ok := present[id]; !ok {
			c.faultLocked("job %d is lost: %s", id, identity)
		}
	}
	least := make(map[string]int)
	for id, arguments := range c.given {
		least[arguments]++
		if j, ok := present[id]; !ok {
			c.faultLocked("job %d, given for %s, is lost", id, arguments)
		} else if compact(j.Arguments) != arguments || j.Method != "replication.run" {
			c.faultLocked("job %d, given for %s, is %s %s", id, arguments, j.Method, j.Arguments)
		}
	}
	for arguments, n := range count {
		if n < least[arguments] || n > least[arguments]+c.unsure[arguments] {
			c.faultLocked("%d jobs with the arguments %s: %d calls were answered, of %d the outcome is unknown", n, arguments, least[arguments], c.unsure[arguments])
		}
	}
	states := make(map[string]int)
	for _, j := range all {
		states[j.State]++
	}
	if len(all) >= 1000 {
		c.faultLocked("%d jobs are more than are kept", len(all))
	}
	unsure := 0
	for _, n := range c.unsure {
		unsure += n
	}
	c.t.Logf("%d jobs, %v; %d answers, %d outcomes unknown, refused %v", len(all), states, len(c.given), unsure, c.refused)
	for _, f := range c.faults {
		c.t.Error(f)
	}
}

func orNothing(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

func compact(raw json.RawMessage) string {
	return strings.Join(strings.Fields(strings.NewReplacer(" ", "", "\n", "").Replace(string(raw))), "")
}
