package filter

import (
	"cmp"
	"errors"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// number is a JSON number: an integer of any size if it is written as one, else a float. It compares exactly.
type number struct {
	small   int64
	large   *big.Int // instead of small, if that is too small
	float   float64
	isFloat bool
}

func parseNumber(text string) (number, bool) {
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		return number{small: i}, true
	}
	if !strings.ContainsAny(text, ".eE") {
		i, ok := new(big.Int).SetString(text, 10)
		return number{large: i}, ok
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) { // out of range is infinite, as in Python
		return number{}, false
	}
	return number{float: f, isFloat: true}, true
}

// exactFloat is the range in which a float64 holds every integer.
const exactFloat = 1 << 53

func (n number) compare(m number) int {
	switch {
	case n.isFloat && m.isFloat:
		return cmp.Compare(n.float, m.float)
	case n.isFloat:
		return -m.compareFloat(n.float)
	case m.isFloat:
		return n.compareFloat(m.float)
	case n.large == nil && m.large == nil:
		return cmp.Compare(n.small, m.small)
	}
	return n.integer().Cmp(m.integer())
}

// compareFloat compares an integer with a float by value, not after rounding it to one.
func (n number) compareFloat(f float64) int {
	switch {
	case math.IsInf(f, 0):
		return -cmp.Compare(f, 0)
	case n.large == nil && -exactFloat <= n.small && n.small <= exactFloat:
		return cmp.Compare(float64(n.small), f)
	}
	return new(big.Float).SetInt(n.integer()).Cmp(big.NewFloat(f))
}

func (n number) integer() *big.Int {
	if n.large != nil {
		return n.large
	}
	return big.NewInt(n.small)
}
