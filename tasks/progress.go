package tasks

import (
	"encoding/json"
	"fmt"

	"github.com/zferry/zferry/jobs"
	"github.com/zferry/zferry/replication"
)

// Extra is what a job's progress carries beside percent and text. Sizes are bytes, Rate is bytes per second, times are
// seconds; -1 where unknown.
type Extra struct {
	Dataset        string  `json:"dataset"`
	Snapshot       string  `json:"snapshot"`
	SnapshotsSent  int     `json:"snapshots_sent"`
	SnapshotsTotal int     `json:"snapshots_total"`
	BytesSent      int64   `json:"bytes_sent"`
	BytesTotal     int64   `json:"bytes_total"`
	Rate           int64   `json:"rate"`
	Left           float64 `json:"left"`
	Elapsed        float64 `json:"elapsed"`
}

// jobProgress is the progress of a run as a job shows it: percent by bytes (decisions 18), the text of truenas-api.md 5.7.
func jobProgress(p replication.Progress) jobs.Progress {
	percent := 0
	if p.Total > 0 {
		percent = int(100 * p.Bytes / p.Total)
	}
	left := p.Left.Seconds()
	if p.Left < 0 {
		left = -1
	}
	// Marshalling numbers and names cannot fail.
	extra, _ := json.Marshal(Extra{
		Dataset: p.Dataset, Snapshot: p.Snapshot, SnapshotsSent: p.Snapshots, SnapshotsTotal: p.SnapshotsTotal,
		BytesSent: p.Bytes, BytesTotal: p.Total, Rate: p.Rate, Left: left, Elapsed: p.Elapsed.Seconds(),
	})
	text := ""
	if p.Snapshot != "" {
		text = fmt.Sprintf("Sending %d of %d: %s", min(p.Snapshots+1, p.SnapshotsTotal), p.SnapshotsTotal, p.Snapshot)
		if p.Bytes > 0 {
			text += fmt.Sprintf(" (%s / %s)", size(p.Bytes), size(p.Total))
		}
	}
	return jobs.Progress{Percent: &percent, Description: text, Extra: extra}
}

// size writes bytes in binary units with two decimals, as truenas-api.md 5.7 says.
func size(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d bytes", n)
	}
	value := float64(n)
	for _, unit := range []string{"KiB", "MiB", "GiB", "TiB", "PiB"} {
		value /= 1024
		if value < 1024 || unit == "PiB" {
			return fmt.Sprintf("%.2f %s", value, unit)
		}
	}
	return ""
}
