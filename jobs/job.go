package jobs

import (
	"encoding/json"
	"math"
	"time"
)

// State is where a job stands. It only moves forward: Waiting, Running, and one of the final states; a job that is stopped
// while it waits for its lock goes from Waiting to a final state.
type State string

// The states of a job. The last three are final.
const (
	Waiting State = "WAITING"
	Running State = "RUNNING"
	Success State = "SUCCESS"
	Failed  State = "FAILED"
	Aborted State = "ABORTED"
)

// Final tells whether a job in this state has ended.
func (s State) Final() bool { return s == Success || s == Failed || s == Aborted }

// Progress is how far a job has come.
type Progress struct {
	Percent     *int // nil in a report: as before
	Description string
	Extra       json.RawMessage `json:",omitempty"`
}

// Percent makes the percentage of a Progress out of a share: whole, and from 0 to 100. What is no number gives nil.
func Percent(share float64) *int {
	if math.IsNaN(share) {
		return nil
	}
	whole := int(min(max(share, 0), 100))
	return &whole
}

// Failure is what clients are told of an error.
type Failure struct {
	Error     string          // the text
	Exception string          // a longer text, with a trace if there is one
	Repr      string          // of exc_info
	Type      string          // of exc_info: a class, or VALIDATION
	Errno     int             // of exc_info, 0 if there is none
	Extra     json.RawMessage `json:",omitempty"`
}

// Job is one job as it is at a moment. It is a value: later changes do not show in it, and what its slices and pointers lead
// to must not be changed. Encoded as JSON and decoded again it is the same, so that a Store may keep it so.
type Job struct {
	ID  int64
	Rev uint64 // higher after each change, also over restarts; no two changes of any jobs share one

	Method      string
	Description string
	Arguments   json.RawMessage   `json:",omitempty"`
	MessageIDs  []json.RawMessage `json:",omitempty"` // of the calls that made or joined it
	Credentials json.RawMessage   `json:",omitempty"`
	Owner       string            // the user, empty for a job of the program's own
	ReadRoles   []string          `json:",omitempty"` // who may see it beside its owner
	Transient   bool              // forgotten as soon as it has ended
	Abortable   bool              // what a client is told; Abort works on every job
	Key         string            // for the caller, see Manager.Interrupted
	Restart     bool              // for the caller: it takes up the work of a job that was interrupted

	State       State
	Progress    Progress
	LogsPath    string // empty if it has no log
	LogsExcerpt string // of its log, once it has ended

	Result              json.RawMessage `json:",omitempty"` // of a Success
	ResultEncodingError string          // of a Success: why Result is null instead of what the job returned
	Failure             *Failure        `json:",omitempty"` // of a Failed or Aborted
	Interrupted         bool            // of a Failed: the program ended, not the job by itself

	Created, Started, Finished time.Time // zero if not yet
}
