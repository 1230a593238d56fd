package bench

import (
	"strings"
	"testing"
)

func TestPairedTakesTheMedianOfTheRatios(t *testing.T) {
	r := Paired("x", "s", "y", []float64{2, 30, 4}, []float64{1, 10, 4})
	if r.Value != 4 || r.Ratio != 2 || r.Spread != 7 {
		t.Errorf("got %+v", r)
	}
}

func TestUnknownGroupIsRefused(t *testing.T) {
	err := Run(t.Context(), []string{"nonsense"}, nil, nil, "")
	if err == nil || !strings.Contains(err.Error(), `no group "nonsense"; there are native, lab`) {
		t.Errorf("got %v", err)
	}
}
