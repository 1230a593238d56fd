package filter

import (
	"errors"
	"time"

	"github.com/dlclark/regexp2"
)

// matchTime is how long one run of a query may spend on regular expressions in all, and one match on its own. The engine
// backtracks, so a short pattern could otherwise take for ever; its clock ticks every 100 ms.
const matchTime = time.Second

var errSlowPattern = errors.New("filter_list: regular expression takes too long")

// newPattern compiles a regular expression of Python that is to match at the start of a text.
func newPattern(want any, ignoreCase bool) (*regexp2.Regexp, error) {
	text, ok := want.(string)
	if !ok {
		return nil, errors.New("first argument must be string or compiled pattern")
	}
	text, err := translate(text)
	if err != nil {
		return nil, err
	}
	options := regexp2.None
	if ignoreCase {
		options = regexp2.IgnoreCase
	}
	// On its own first: in the group below a pattern such as a)(b would be well formed.
	if _, err := regexp2.Compile(text, options); err != nil {
		return nil, err
	}
	re, err := regexp2.Compile(`\A(?:`+text+`)`, options)
	if err != nil {
		// A comment at the end, which only the flag x allows, has swallowed the bracket.
		re, err = regexp2.Compile(`\A(?:`+text+"\n)", options)
	}
	if err != nil {
		return nil, err
	}
	re.MatchTimeout = matchTime
	return re, nil
}

// match tells whether the text matches, and adds up the time that it takes.
func (r *run) match(re *regexp2.Regexp, text string) (bool, error) {
	start := time.Now()
	ok, err := re.MatchString(text)
	r.matching += time.Since(start)
	if err != nil || r.matching > matchTime {
		return false, errSlowPattern
	}
	return ok, nil
}
