package filter

import (
	"errors"
	"time"

	"github.com/dlclark/regexp2"

	"github.com/zferry/zferry/pythonre"
)

// errSlowPattern is a run of a query that spends more than pythonre.MatchTime on regular expressions in all.
var errSlowPattern = errors.New("filter_list: regular expression takes too long")

// newPattern compiles a regular expression of Python that is to match at the start of a text.
func newPattern(want any, ignoreCase bool) (*regexp2.Regexp, error) {
	text, ok := want.(string)
	if !ok {
		return nil, errors.New("first argument must be string or compiled pattern")
	}
	return pythonre.Compile(text, ignoreCase)
}

// match tells whether the text matches, and adds up the time that it takes.
func (r *run) match(re *regexp2.Regexp, text string) (bool, error) {
	start := time.Now()
	ok, err := re.MatchString(text)
	r.matching += time.Since(start)
	if err != nil || r.matching > pythonre.MatchTime {
		return false, errSlowPattern
	}
	return ok, nil
}
