package tasks

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/zferry/zferry/replication"
)

// Phase is where a task stands (truenas-api.md 3.7).
type Phase string

// The phases of a task.
const (
	Pending  Phase = "PENDING"
	Running  Phase = "RUNNING"
	Finished Phase = "FINISHED"
	Failed   Phase = "ERROR"
	Hold     Phase = "HOLD"
)

// State is how a task stands. What a run left is kept over restarts; RUNNING and HOLD are not.
type State struct {
	Phase        Phase                 `json:"phase"`
	At           time.Time             `json:"at"`
	Error        string                `json:"error,omitempty"`    // of ERROR, a sentence
	Reason       string                `json:"reason,omitempty"`   // of HOLD, a sentence
	Warnings     []string              `json:"warnings,omitempty"` // of FINISHED
	LastSnapshot string                `json:"last_snapshot,omitempty"`
	Progress     *replication.Progress `json:"-"` // of RUNNING, nil until something moves
	Job          int64                 `json:"job,omitempty"`
}

func decodeState(data json.RawMessage) State {
	var s State
	// What cannot be read any more is as if nothing had run: the next run writes it anew.
	if err := json.Unmarshal(data, &s); err != nil || s.Phase == "" {
		return State{Phase: Pending}
	}
	return s
}

// sentence ends the text of an error with a full stop, as states show it.
func sentence(err error) string {
	text := strings.TrimSpace(err.Error())
	if text == "" || strings.HasSuffix(text, ".") {
		return text
	}
	return text + "."
}

func itoa(i int) string { return strconv.Itoa(i) }

func encodeState(s State) (json.RawMessage, error) { return json.Marshal(s) }
