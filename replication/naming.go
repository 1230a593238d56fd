package replication

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/itchyny/timefmt-go"
)

// Schema is a naming schema: how the time of a snapshot becomes its name, in the language of strftime (truenas-api.md 5.2).
type Schema struct{ format string }

// ParseSchema checks a naming schema. The errors are those of truenas-api.md 5.2, without "Value error, ".
func ParseSchema(format string) (Schema, error) {
	if strings.Contains(format, "%%") {
		return Schema{}, errors.New("% is not an allowed character in ZFS snapshot name")
	}
	if err := allowedInName(format); err != nil {
		return Schema{}, err
	}
	if err := placeholders(format); err != nil {
		return Schema{}, err
	}
	s := Schema{format}
	return s, s.roundTrip()
}

// allowedInName is rule 2 of 5.2.
func allowedInName(format string) error {
	var bad []rune
	for _, c := range format {
		ok := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.ContainsRune(" %_.:-", c)
		if !ok && !slices.Contains(bad, c) {
			bad = append(bad, c)
		}
	}
	switch len(bad) {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("%c is not an allowed character in ZFS snapshot name", bad[0])
	}
	return fmt.Errorf("%s are not allowed characters in ZFS snapshot name", string(bad))
}

// placeholders holds rules 3 to 5 of 5.2.
func placeholders(format string) error {
	if strings.Contains(format, "%s") {
		if strings.Count(format, "%") > strings.Count(format, "%s") {
			return errors.New("No other placeholder can be used with %s in naming schema") //nolint:staticcheck // the wording of the API
		}
		return nil
	}
	for _, p := range []string{"%Y", "%m", "%d", "%H", "%M"} {
		if !strings.Contains(format, p) {
			return fmt.Errorf("%s must be present in snapshot naming schema", p)
		}
	}
	if strings.Contains(format, "%z") && strings.Contains(format, "--") {
		return errors.New("%z and `--` can't be present in snapshot naming schema at the same time. ZFS snapshot names can't contain `+` so we use `--` instead.") //nolint:staticcheck,revive // likewise
	}
	return nil
}

// roundTrip is rule 6 of 5.2: what is made of a time must be read as that time.
func (s Schema) roundTrip() error {
	for _, hours := range []int{10, -10} {
		zone := time.UTC
		if strings.Contains(s.format, "%z") {
			zone = time.FixedZone("", hours*3600)
		}
		at := time.Date(2000, 2, 29, 19, 40, 0, 0, zone)
		name := s.Name(at)
		got, err := s.parse(name)
		if err != nil {
			return fmt.Errorf("Invalid naming schema: %w", err) //nolint:staticcheck // the wording of the API
		}
		if !got.Equal(at) {
			return fmt.Errorf("Failed to parse datetime using provided format: datetime=%s, formatted=%s, parsed=%s", //nolint:staticcheck // likewise
				at.Format(time.DateTime), name, got.Format(time.DateTime))
		}
	}
	return nil
}

// Name is the name of a snapshot taken at t.
func (s Schema) Name(t time.Time) string {
	return strings.ReplaceAll(timefmt.Format(t, s.format), "+", "--")
}

// Time is when a snapshot of that name was taken, to the precision of the schema; ok is false if the schema has not made the
// name. Without %z or %s in the schema the time is that of a clock in UTC.
func (s Schema) Time(name string) (at time.Time, ok bool) {
	at, err := s.parse(name)
	return at, err == nil
}

func (s Schema) parse(name string) (time.Time, error) {
	if strings.Contains(s.format, "%z") {
		name = strings.Replace(name, "--", "+", 1)
	}
	return timefmt.Parse(name, s.format)
}
