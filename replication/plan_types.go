package replication

import "github.com/zferry/zferry/zfs"

// Task says what is to be replicated. Names are those of datasets, without a host.
type Task struct {
	Source    string
	Target    string
	Recursive bool // with all filesystems and volumes below Source
	// SameSystem tells that both sides are one system, where source and target must not be nested (decisions.md 16).
	SameSystem bool
}

// Kind is the kind of a stream.
type Kind string

// The kinds of streams in a plan.
const (
	Full        Kind = "full"
	Incremental Kind = "incremental"
	Resumed     Kind = "resumed"
)

// Step is one stream. All streams of a dataset go through one channel.
type Step struct {
	Kind      Kind
	Send      zfs.Send
	Snapshots int   // that the target has afterwards and had not before
	Bytes     int64 // estimated size of the stream; -1 while unknown
	Done      int64 // bytes of a resumed stream that the target already has
}

// DatasetPlan is what happens to one dataset of the tree.
type DatasetPlan struct {
	Source   string
	Target   string
	Type     zfs.Type
	Raw      bool   // sent encrypted as stored
	Steps    []Step // none: the dataset is up to date, or left out for the reason in Note
	Discard  bool   // the partial state of an interrupted receive is of no use and is thrown away first
	Rollback string // target snapshot that changes after it are rolled back to first, or ""
	Undone   int64  // bytes written at the target that the rollback undoes
	Note     string // what a person should know: why it is left out, discarded or rolled back
}

// Plan is what a run will do. Nothing happens in a run that its plan did not show.
type Plan struct {
	Task      Task
	Create    []string      // missing parents of the target, topmost first
	Datasets  []DatasetPlan // parents before children
	Available int64         // bytes that the target has room for
}

// Bytes is the estimated size of all streams; known is false if a stream's size is unknown.
func (p *Plan) Bytes() (total int64, known bool) {
	known = true
	for _, d := range p.Datasets {
		for _, s := range d.Steps {
			if s.Bytes < 0 {
				known = false
				continue
			}
			total += s.Bytes
		}
	}
	return total, known
}

// Streams is the number of streams, and snapshots how many snapshots they carry.
func (p *Plan) Streams() (streams, snapshots int) {
	for _, d := range p.Datasets {
		streams += len(d.Steps)
		for _, s := range d.Steps {
			snapshots += s.Snapshots
		}
	}
	return streams, snapshots
}

// Empty tells whether there is nothing to do.
func (p *Plan) Empty() bool {
	n, _ := p.Streams()
	return n == 0 && len(p.Create) == 0
}
