package host

import (
	"encoding/json"
	"time"
)

// settled is how long an answer may take from the handler to the connection.
const settled = 20 * time.Millisecond

// answered is a result after which something is to happen.
type answered struct {
	result any
	then   func()
}

// afterReply makes a result of which then is called, in a goroutine of its own, when it is on its way to the other end: what
// follows from a call must not overtake its answer.
func afterReply(result any, then func()) any { return answered{result, then} }

// MarshalJSON is called right before the answer is handed to the connection.
func (a answered) MarshalJSON() ([]byte, error) {
	time.AfterFunc(settled, a.then)
	return json.Marshal(a.result)
}
