package filter

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// dateOperand reads the value of a condition on a field with the suffix .$date.
func dateOperand(op string, value any) (date, error) {
	switch op {
	case "=", "!=", "<", "<=", ">", ">=":
	default:
		return date{}, errors.New(op + ": invalid timestamp operation.") // with its full stop: clients know this text
	}
	if text, ok := value.(string); ok {
		if at, ok := parseTime(text); ok {
			return dateOf(at), nil
		}
	}
	return date{}, fmt.Errorf("%s: must be an ISO-8601 formatted timestamp string", display(value))
}

// dateOf keeps microseconds. Milliseconds with a fraction are exact enough as a float: it has 53 bits, and today takes 41.
func dateOf(at time.Time) date {
	if micro := at.UnixMicro(); micro%1000 != 0 {
		return date{number{float: float64(micro) / 1000, isFloat: true}}
	}
	return date{number{small: at.UnixMilli()}}
}

// parseTime reads what Python's datetime.fromisoformat reads: most of ISO 8601. A time without offset is in UTC.
func parseTime(text string) (time.Time, bool) {
	s := scanner{rest: text}
	day, ok := s.day()
	if !ok {
		return time.Time{}, false
	}
	if s.rest == "" {
		return day, true
	}
	for i := range s.rest { // any one character stands between day and time
		if i > 0 {
			s.rest = s.rest[i:]
			break
		}
	}
	clock, ok := s.clock()
	if !ok || clock >= 24*time.Hour {
		return time.Time{}, false
	}
	offset, ok := s.offset()
	if !ok || s.rest != "" {
		return time.Time{}, false
	}
	return day.Add(clock - offset), true
}

// scanner takes a text apart from its start.
type scanner struct{ rest string }

// digits takes a number of exactly n digits.
func (s *scanner) digits(n int) (int, bool) {
	if len(s.rest) < n {
		return 0, false
	}
	value := 0
	for i := range n {
		c := s.rest[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		value = value*10 + int(c-'0')
	}
	s.rest = s.rest[n:]
	return value, true
}

func (s *scanner) skip(prefix string) bool {
	rest, ok := strings.CutPrefix(s.rest, prefix)
	s.rest = rest
	return ok
}

func (s *scanner) startsWithDigit() bool {
	return s.rest != "" && s.rest[0] >= '0' && s.rest[0] <= '9'
}

// day takes YYYY-MM-DD, YYYYMMDD, YYYY-Www-D or YYYYWwwD; the last without the day of the week too.
func (s *scanner) day() (time.Time, bool) {
	year, ok := s.digits(4)
	if !ok || year == 0 {
		return time.Time{}, false
	}
	dashes := s.skip("-")
	if s.skip("W") {
		return s.weekDay(year, dashes)
	}
	month, ok := s.digits(2)
	if !ok || s.skip("-") != dashes {
		return time.Time{}, false
	}
	day, ok := s.digits(2)
	at := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
	return at, ok && at.Day() == day && int(at.Month()) == month
}

func (s *scanner) weekDay(year int, dashes bool) (time.Time, bool) {
	week, ok := s.digits(2)
	if !ok {
		return time.Time{}, false
	}
	day := 1
	if dashes && s.skip("-") || !dashes && s.startsWithDigit() {
		if day, ok = s.digits(1); !ok || day < 1 || day > 7 {
			return time.Time{}, false
		}
	}
	fourth := time.Date(year, time.January, 4, 0, 0, 0, 0, time.UTC) // always in week 1
	monday := fourth.AddDate(0, 0, -(int(fourth.Weekday())+6)%7)
	at := monday.AddDate(0, 0, (week-1)*7+day-1)
	isoYear, isoWeek := at.ISOWeek()
	return at, isoYear == year && isoWeek == week
}

// clock takes HH, HH:MM, HH:MM:SS, the same without colons, and a fraction of a second after any.
func (s *scanner) clock() (time.Duration, bool) {
	hours, ok := s.digits(2)
	if !ok {
		return 0, false
	}
	total := time.Duration(hours) * time.Hour
	colons := strings.HasPrefix(s.rest, ":")
	for _, unit := range []time.Duration{time.Minute, time.Second} {
		if colons && !s.skip(":") || !colons && !s.startsWithDigit() {
			break
		}
		n, ok := s.digits(2)
		if !ok || n > 59 {
			return 0, false
		}
		total += time.Duration(n) * unit
	}
	if s.skip(".") || s.skip(",") {
		return s.fraction(total)
	}
	return total, true
}

// fraction takes any number of digits and keeps six.
func (s *scanner) fraction(total time.Duration) (time.Duration, bool) {
	if !s.startsWithDigit() {
		return 0, false
	}
	for unit := 100 * time.Millisecond; s.startsWithDigit(); unit /= 10 {
		n, _ := s.digits(1)
		if unit >= time.Microsecond {
			total += time.Duration(n) * unit
		}
	}
	return total, true
}

// offset takes Z, or a sign and a time of less than a day, or nothing.
func (s *scanner) offset() (time.Duration, bool) {
	if s.rest == "" || s.skip("Z") {
		return 0, true
	}
	minus := s.skip("-")
	if !minus && !s.skip("+") {
		return 0, false
	}
	offset, ok := s.clock()
	if minus {
		offset = -offset
	}
	return offset, ok && offset.Abs() < 24*time.Hour
}
