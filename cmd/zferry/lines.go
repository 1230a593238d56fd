package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/zferry/zferry/replication"
)

// lines is for a program: an object a line.
type lines struct {
	from, to endpoint
	broken   func(error) // called with an error of the output

	mu      sync.Mutex // guards encoder
	encoder *json.Encoder
}

func newLines(from, to endpoint, out io.Writer, broken func(error)) *lines {
	return &lines{from: from, to: to, broken: broken, encoder: json.NewEncoder(out)}
}

func (l *lines) write(v any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.encoder.Encode(v); err != nil {
		l.broken(fmt.Errorf("write output: %w", err))
	}
}

func (l *lines) plan(p *replication.Plan) {
	line := planLine{Type: "plan", Source: l.from.String(), Target: l.to.String(), Create: append([]string{}, p.Create...), Datasets: []datasetLine{}}
	line.Streams, line.Snapshots = p.Streams()
	line.Bytes, line.BytesKnown = p.Bytes()
	for _, d := range p.Datasets {
		line.Datasets = append(line.Datasets, newDatasetLine(d))
	}
	l.write(line)
}

func newDatasetLine(d replication.DatasetPlan) datasetLine {
	line := datasetLine{
		Source: d.Source, Target: d.Target, Kind: string(d.Type), Raw: d.Raw, Streams: []stepLine{},
		Discard: d.Discard, Rollback: d.Rollback, Undone: d.Undone, Note: d.Note,
	}
	for _, s := range d.Steps {
		line.Streams = append(line.Streams, stepLine{
			Kind: string(s.Kind), From: s.Send.From, Snapshot: s.Send.Snapshot, Snapshots: s.Snapshots, Bytes: s.Bytes,
		})
	}
	return line
}

func (l *lines) warn(message string) { l.write(warningLine{Type: "warning", Message: message}) }

func (l *lines) progress(p replication.Progress) {
	line := progressLine{
		Type: "progress", Dataset: p.Dataset, Snapshot: p.Snapshot,
		Datasets: p.Datasets, DatasetsTotal: p.DatasetsTotal, Snapshots: p.Snapshots, SnapshotsTotal: p.SnapshotsTotal,
		Bytes: p.Bytes, Total: p.Total, Rate: p.Rate, Left: -1, Elapsed: p.Elapsed.Seconds(),
	}
	if p.Left >= 0 {
		line.Left = p.Left.Seconds()
	}
	l.write(line)
}

func (l *lines) stop() {}

func (l *lines) result(r replication.Result, connections int) {
	line := resultLine{
		Type: "result", Datasets: r.Datasets, Snapshots: r.Snapshots, Bytes: r.Bytes, Seconds: r.Elapsed.Seconds(),
		Streams: r.Streams, SSHConnections: connections, PerDataset: []doneLine{},
	}
	for _, d := range r.PerDataset {
		line.PerDataset = append(line.PerDataset, doneLine{
			Source: d.Source, Target: d.Target, Snapshots: d.Snapshots, Streams: d.Streams, Bytes: d.Bytes, Seconds: d.Elapsed.Seconds(),
		})
	}
	l.write(line)
}

func (l *lines) fail(err error) {
	line := errorLine{Type: "error", Message: err.Error()}
	if refused, ok := errors.AsType[replication.Refused](err); ok {
		for _, r := range refused {
			line.Refusals = append(line.Refusals, refusalLine{Dataset: r.Dataset, Reason: r.Reason})
		}
	}
	l.write(line)
}

type (
	planLine struct {
		Type       string        `json:"type"`
		Source     string        `json:"source"`
		Target     string        `json:"target"`
		Create     []string      `json:"create"`
		Datasets   []datasetLine `json:"datasets"`
		Streams    int           `json:"streams"`
		Snapshots  int           `json:"snapshots"`
		Bytes      int64         `json:"bytes"`
		BytesKnown bool          `json:"bytes_known"`
	}
	datasetLine struct {
		Source   string     `json:"source"`
		Target   string     `json:"target"`
		Kind     string     `json:"kind"`
		Raw      bool       `json:"raw"`
		Streams  []stepLine `json:"streams"`
		Discard  bool       `json:"discard,omitempty"`
		Rollback string     `json:"rollback,omitempty"`
		Undone   int64      `json:"undone,omitempty"`
		Note     string     `json:"note,omitempty"`
	}
	stepLine struct {
		Kind      string `json:"kind"`
		From      string `json:"from,omitempty"`
		Snapshot  string `json:"snapshot"`
		Snapshots int    `json:"snapshots"`
		Bytes     int64  `json:"bytes"`
	}
	warningLine struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	}
	progressLine struct {
		Type           string  `json:"type"`
		Dataset        string  `json:"dataset"`
		Snapshot       string  `json:"snapshot"`
		Datasets       int     `json:"datasets"`
		DatasetsTotal  int     `json:"datasets_total"`
		Snapshots      int     `json:"snapshots"`
		SnapshotsTotal int     `json:"snapshots_total"`
		Bytes          int64   `json:"bytes"`
		Total          int64   `json:"total"`
		Rate           int64   `json:"rate"`
		Left           float64 `json:"left"`
		Elapsed        float64 `json:"elapsed"`
	}
	resultLine struct {
		Type           string     `json:"type"`
		Datasets       int        `json:"datasets"`
		Snapshots      int        `json:"snapshots"`
		Bytes          int64      `json:"bytes"`
		Seconds        float64    `json:"seconds"`
		Streams        int        `json:"streams"`
		SSHConnections int        `json:"ssh_connections"`
		PerDataset     []doneLine `json:"per_dataset"`
	}
	doneLine struct {
		Source    string  `json:"source"`
		Target    string  `json:"target"`
		Snapshots int     `json:"snapshots"`
		Streams   int     `json:"streams"`
		Bytes     int64   `json:"bytes"`
		Seconds   float64 `json:"seconds"`
	}
	errorLine struct {
		Type     string        `json:"type"`
		Message  string        `json:"message"`
		Refusals []refusalLine `json:"refusals,omitempty"`
	}
	refusalLine struct {
		Dataset string `json:"dataset"`
		Reason  string `json:"reason"`
	}
)
