package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vbauerster/mpb/v8/decor"

	"github.com/zferry/zferry/replication"
	"github.com/zferry/zferry/zfs"
)

// size is a number of bytes for people.
func size(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("% .1f", decor.SizeB1024(n))
}

// estimate is a number of bytes that may be unknown.
func estimate(n int64) string {
	if n < 0 {
		return "unknown"
	}
	return size(n)
}

// count is a number with its noun.
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// seconds is a duration for people, as exact as its length deserves.
func seconds(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// table writes rows in columns; the columns in right are of numbers.
func table(w io.Writer, right []int, rows [][]string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			space := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if slices.Contains(right, i) {
				line.WriteString(space + cell + "  ")
			} else {
				line.WriteString(cell + space + "  ")
			}
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// renderPlan shows what a run would do. Datasets with nothing to do and nothing to say are only counted.
func renderPlan(w io.Writer, plan *replication.Plan, from, to endpoint) {
	fmt.Fprintf(w, "from %s\nto   %s\n\n", from, to)
	for _, parent := range plan.Create {
		fmt.Fprintf(w, "create %s\n", parent)
	}
	rows := [][]string{{"DATASET", "STREAMS", "SNAPSHOTS", "BYTES", "NOTE"}}
	current := 0
	for _, d := range plan.Datasets {
		if len(d.Steps) == 0 && d.Note == "" {
			current++
			continue
		}
		rows = append(rows, planRow(d))
	}
	if len(rows) > 1 {
		table(w, []int{2, 3}, rows)
	}
	if current > 0 {
		fmt.Fprintln(w, count(current, "dataset"), "up to date")
	}
	fmt.Fprintf(w, "\n%s\n", summary(plan))
}

func planRow(d replication.DatasetPlan) []string {
	if len(d.Steps) == 0 {
		return []string{d.Source, "-", "0", "-", d.Note}
	}
	var kinds []string
	var snapshots int
	var bytes int64
	for _, s := range d.Steps {
		if !slices.Contains(kinds, string(s.Kind)) {
			kinds = append(kinds, string(s.Kind))
		}
		snapshots += s.Snapshots
		if s.Bytes < 0 || bytes < 0 {
			bytes = -1
		} else {
			bytes += s.Bytes
		}
	}
	var notes []string
	if d.Type == zfs.Volume {
		notes = append(notes, "volume")
	}
	if d.Raw {
		notes = append(notes, "encrypted, sent raw")
	}
	if d.Note != "" {
		notes = append(notes, d.Note)
	}
	return []string{d.Source, strings.Join(kinds, ", "), fmt.Sprint(snapshots), estimate(bytes), strings.Join(notes, "; ")}
}

// summary says in a sentence what a plan comes to.
func summary(plan *replication.Plan) string {
	if plan.Empty() {
		return "Nothing to do."
	}
	streams, snapshots := plan.Streams()
	bytes, known := plan.Bytes()
	about := "about " + size(bytes)
	if !known {
		about = "at least " + size(bytes)
	}
	return fmt.Sprintf("%s in %s, %s.", count(snapshots, "snapshot"), count(streams, "stream"), about)
}

// renderResult shows what a run did.
func renderResult(w io.Writer, r replication.Result, connections int) {
	rows := [][]string{{"DATASETS", "SNAPSHOTS", "BYTES", "SECONDS", "STREAMS", "SSH CONNECTIONS"}}
	rows = append(rows, []string{
		fmt.Sprint(r.Datasets), fmt.Sprint(r.Snapshots), size(r.Bytes), fmt.Sprintf("%.1f", r.Elapsed.Seconds()),
		fmt.Sprint(r.Streams), fmt.Sprint(connections),
	})
	table(w, []int{0, 1, 2, 3, 4, 5}, rows)
}

// position says which dataset is under way.
func position(p replication.Progress) string {
	at := p.Dataset
	if p.Snapshot != "" {
		at = p.Snapshot // the full name
	}
	return fmt.Sprintf("%d of %d datasets, %d of %d snapshots  %s", p.Datasets, p.DatasetsTotal, p.Snapshots, p.SnapshotsTotal, at)
}

// speed says how fast it goes and how long it will take.
func speed(p replication.Progress) string {
	text := size(p.Rate) + "/s"
	if p.Left >= 0 {
		text += "  " + seconds(p.Left) + " left"
	}
	return text
}
