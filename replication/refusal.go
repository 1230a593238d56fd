package replication

import "strings"

// Refusal is why a dataset cannot be replicated as the task wants it.
type Refusal struct {
	Dataset string // of the source, or of the target where only that is at fault
	Reason  string // a whole sentence, that says what to do where something can be done
}

// Refused is every reason for which a plan was not made. Nothing has been changed on either side.
type Refused []Refusal

// Error lists the reasons, a line each.
func (r Refused) Error() string {
	lines := make([]string, len(r))
	for i, x := range r {
		lines[i] = x.Reason
	}
	return strings.Join(lines, "\n")
}

func (r *Refused) add(dataset, reason string) { *r = append(*r, Refusal{dataset, reason}) }
