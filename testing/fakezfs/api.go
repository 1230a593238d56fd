package fakezfs

import (
	"bytes"
	"context"
	"strconv"
	"strings"
)

// Do runs one command given as a line of words, "zfs snapshot tank/a@1", for the set-up and the checks of a test: it is
// not recorded, no switch works on it, and it runs as root. Its output comes without the last line break.
func (s *System) Do(line string) (string, error) {
	argv := strings.Fields(line)
	var out bytes.Buffer
	var text buffer
	c := &call{System: s, ctx: context.Background(), in: orEmpty(nil), out: &out, err: &text, root: true, quiet: true}
	if code := c.run(argv); code != 0 {
		return "", &ExitError{Argv: argv, Code: code, Stderr: text.String()}
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}

// Write adds a file of random content to a dataset.
func (s *System) Write(dataset string, size int64) error {
	_, err := s.Do("zfs fake-write " + dataset + " " + strconv.FormatInt(size, 10))
	return err
}

// Sum returns a digest of what a dataset or snapshot holds; equal content has equal digests on every system.
func (s *System) Sum(name string) (string, error) {
	return s.Do("zfs fake-sum " + name)
}

// SetCapacity makes a pool as large as that, 1 TiB at first; what is used already stays.
func (s *System) SetCapacity(pool string, size int64) error {
	_, err := s.Do("zfs fake-capacity " + pool + " " + strconv.FormatInt(size, 10))
	return err
}
