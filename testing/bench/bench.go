// Package bench measures, always one thing beside another in the same run, because machines are noisy: a figure is a ratio,
// its spread says how far it can be trusted. Timings are no tests; what can be counted is tested elsewhere.
package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

// Row is one figure.
type Row struct {
	Name    string  `json:"name"`
	Value   float64 `json:"value"` // the median
	Unit    string  `json:"unit"`
	Against string  `json:"against"` // what was measured beside it in the same run, or ""
	Ratio   float64 `json:"ratio"`   // of Value to that, pair by pair, the median; 0 if there is none
	Spread  float64 `json:"spread"`  // of Value: largest less smallest, by the median
}

// Group is a set of figures that need the same surroundings.
type Group struct {
	Name string
	Run  func(ctx context.Context, r *Report) error
}

// Report takes what groups find.
type Report struct {
	Progress io.Writer // what is going on, line by line
	rows     []Row
	notes    []string
}

// Say tells what is going on.
func (r *Report) Say(format string, args ...any) { fmt.Fprintf(r.Progress, format+"\n", args...) }

// Note keeps what belongs above the table: versions, sizes, conditions.
func (r *Report) Note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

// Add keeps a figure.
func (r *Report) Add(row Row) { r.rows = append(r.rows, row) }

// Run measures the named groups, all of them if none is named, prints one table to out and writes the same to file.
func Run(ctx context.Context, names []string, out, progress io.Writer, file string) error {
	r := &Report{Progress: progress}
	groups, err := choose(names)
	if err != nil {
		return err
	}
	for _, g := range groups {
		if err := g.Run(ctx, r); err != nil {
			return fmt.Errorf("%s: %w", g.Name, err)
		}
	}
	if err := write(r.rows, file); err != nil {
		return err
	}
	return r.table(out)
}

// choose finds groups by name.
func choose(names []string) ([]Group, error) {
	if len(names) == 0 {
		return Groups(), nil
	}
	var chosen []Group
	for _, name := range names {
		i := slices.IndexFunc(Groups(), func(g Group) bool { return g.Name == name })
		if i < 0 {
			var known []string
			for _, g := range Groups() {
				known = append(known, g.Name)
			}
			return nil, fmt.Errorf("no group %q; there are %s", name, strings.Join(known, ", "))
		}
		chosen = append(chosen, Groups()[i])
	}
	return chosen, nil
}

func write(rows []Row, file string) error {
	text, err := json.MarshalIndent(rows, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

func (r *Report) table(out io.Writer) error {
	for _, note := range r.notes {
		fmt.Fprintln(out, note)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tVALUE\tUNIT\tAGAINST\tRATIO\tSPREAD")
	for _, r := range r.rows {
		ratio := "-"
		if r.Ratio != 0 {
			ratio = fmt.Sprintf("%.2f", r.Ratio)
		}
		fmt.Fprintf(w, "%s\t%.2f\t%s\t%s\t%s\t%.0f %%\n", r.Name, r.Value, r.Unit, r.Against, ratio, 100*r.Spread)
	}
	return w.Flush()
}

// Paired makes the row of a figure that was measured in turn with another: theirs[i] belongs to ours[i].
func Paired(name, unit, against string, ours, theirs []float64) Row {
	m := median(ours)
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = ours[i] / theirs[i]
	}
	return Row{Name: name, Value: m, Unit: unit, Against: against, Ratio: median(ratios), Spread: (slices.Max(ours) - slices.Min(ours)) / m}
}

func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	n := len(s)
	if n%2 == 1 {
		return s[n/2]
	}
	return (s[n/2-1] + s[n/2]) / 2
}
