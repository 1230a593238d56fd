// Package fakezfs is a model of OpenZFS: pools that exist in memory or in one file, and the zfs and zpool commands over
// them, with the exit codes and the wording of OpenZFS 2.3. It lets every test of zferry run without the real thing, and
// can be told to misbehave.
package fakezfs

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// System is one machine with OpenZFS. It is safe for concurrent use; several systems are independent of each other.
type System struct {
	keep     keeper
	dir      string // "" when it lives in memory only
	overlay  Switches
	overlaid bool // the process was given switches of its own, by its environment

	mu       sync.Mutex // guards what follows
	commands [][]string
	switches Switches
	streams  map[int]*running
	lastPID  int
}

// New returns a system in memory with the given pools, each of 1 TiB.
func New(pools ...string) *System {
	s := &System{keep: &memory{state: newState()}, streams: map[int]*running{}, lastPID: 1000}
	for _, p := range pools {
		s.must("zpool", "create", p)
	}
	return s
}

// Open returns the system that is kept in dir, a folder that it creates if need be. Several processes may have it open.
func Open(dir string) (*System, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	k := &disk{file: filepath.Join(dir, "state.json"), lock: filepath.Join(dir, "lock")}
	return &System{keep: k, dir: dir, streams: map[int]*running{}, lastPID: 1000}, nil
}

// Run runs one command, argv[0] being zfs, zpool or sudo, and returns its exit code: -1 if it was killed, which is also
// what becomes of a command whose ctx ends or whose stdin breaks with an error other than io.EOF.
// A nil stdin is empty, a nil stdout or stderr discarded.
func (s *System) Run(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c := &call{System: s, ctx: ctx, in: orEmpty(stdin), out: orDiscard(stdout), err: orDiscard(stderr), sw: s.Switches()}
	return c.run(argv)
}

// Commands returns every command that was run, in order of start.
func (s *System) Commands() [][]string {
	if s.dir != "" {
		return readLog(s.logFile())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.commands)
}

// ForgetCommands empties what Commands returns.
func (s *System) ForgetCommands() {
	if s.dir != "" {
		_ = os.Truncate(s.logFile(), 0)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commands = nil
}

func (s *System) logFile() string { return filepath.Join(s.dir, "commands.log") }

func (s *System) record(argv []string) {
	if s.dir != "" {
		appendLog(s.logFile(), argv)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commands = append(s.commands, slices.Clone(argv))
}

// must runs a command of a constructor that can only fail by a mistake in the test that calls it.
func (s *System) must(argv ...string) {
	var text buffer
	c := &call{System: s, ctx: context.Background(), in: orEmpty(nil), out: io.Discard, err: &text, quiet: true}
	if code := c.run(argv); code != 0 {
		panic(fmt.Sprintf("fakezfs: %q: exit %d: %s", argv, code, text.String()))
	}
}
