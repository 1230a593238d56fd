// Package pythonre compiles the regular expressions that users of the TrueNAS API write, which are Python's (decisions.md 23d).
package pythonre

import (
	"time"

	"github.com/dlclark/regexp2"
)

// MatchTime is how long one match may take. The engine backtracks, so a short pattern could otherwise take for ever; its clock
// ticks every 100 ms.
const MatchTime = time.Second

// Compile compiles an expression that is to match at the start of a text, as Python's re.match does.
func Compile(pattern string, ignoreCase bool) (*regexp2.Regexp, error) {
	text, err := translate(pattern)
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
	re.MatchTimeout = MatchTime
	return re, nil
}
