package fakezfs

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Switches make a system misbehave. The zero value misbehaves in nothing.
type Switches struct {
	// Deny names the rights, as zfs allow does, that the user lacks: "receive", "send", "snapshot", "destroy", "create",
	// "mount", "hold", "bookmark", "rollback", or a property. With sudo they do not matter.
	Deny []string `json:"deny,omitempty"`
	// Refuse maps a command ("receive") to what it says instead of doing anything; it exits with 1.
	Refuse map[string]string `json:"refuse,omitempty"`
	// Sudo is what sudo does: "" works, "password" asks for one, "missing" is not installed.
	Sudo string `json:"sudo,omitempty"`
	// NoZFS makes the system one without a zfs command.
	NoZFS bool `json:"no_zfs,omitempty"`
	// Die maps "send" or "receive" to the number of bytes after which it is killed: once, or each time with DieAlways.
	// SetSwitches arms it again.
	Die       map[string]int64 `json:"die,omitempty"`
	DieAlways bool             `json:"die_always,omitempty"`
	// Hang maps "send" or "receive" to the number of bytes after which it moves nothing more until it is ended.
	Hang map[string]int64 `json:"hang,omitempty"`
	// Rate limits each stream to so many bytes per second; 0 is no limit.
	Rate int64 `json:"rate,omitempty"`
	// Version is what zfs version says; "" is 2.3.2-2~bpo12+2.
	Version string `json:"version,omitempty"`
}

// SetSwitches replaces the switches, for commands that start later.
func (s *System) SetSwitches(sw Switches) error {
	err := s.keep.update(func(st *state) error {
		clear(st.Died)
		return nil
	})
	if err != nil {
		return err
	}
	if s.dir == "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.switches = sw
		return nil
	}
	data, err := json.Marshal(sw)
	if err != nil {
		return err
	}
	file := s.switchFile()
	if err := os.WriteFile(file+".new", data, 0o666); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// Switches returns the switches that commands run under.
func (s *System) Switches() Switches {
	if s.overlaid {
		return s.overlay
	}
	if s.dir == "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.switches
	}
	var sw Switches
	if data, err := os.ReadFile(s.switchFile()); err == nil {
		_ = json.Unmarshal(data, &sw) // written by SetSwitches alone
	}
	return sw
}

func (s *System) switchFile() string { return filepath.Join(s.dir, "switches.json") }

// switchesOf reads switches from the environment of a process.
func switchesOf(env []string) (sw Switches, set bool) {
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		name, ours := strings.CutPrefix(name, "FAKEZFS_")
		if !ours || value == "" {
			continue
		}
		set = true
		switch name {
		case "DENY":
			sw.Deny = strings.Split(value, ",")
		case "REFUSE":
			command, text, _ := strings.Cut(value, "=")
			sw.Refuse = map[string]string{command: text}
		case "SUDO":
			sw.Sudo = value
		case "DIE":
			sw.Die = amounts(value)
		case "DIE_ALWAYS":
			sw.DieAlways = true
		case "HANG":
			sw.Hang = amounts(value)
		case "RATE":
			sw.Rate, _ = strconv.ParseInt(value, 10, 64)
		case "VERSION":
			sw.Version = value
		}
	}
	return sw, set
}

// amounts reads "send:1000,receive:2000".
func amounts(text string) map[string]int64 {
	m := map[string]int64{}
	for part := range strings.SplitSeq(text, ",") {
		what, n, _ := strings.Cut(part, ":")
		m[what], _ = strconv.ParseInt(n, 10, 64)
	}
	return m
}

// gate is where the bytes of a stream pass: it counts, slows, hangs and kills.
type gate struct {
	c      *call
	what   string // send or receive
	passed int64
	spared bool // the switch that kills has done its work before
	start  time.Time
}

func (c *call) gate(what string) *gate { return &gate{c: c, what: what, start: time.Now()} }

// pass tells how many of n bytes may pass now. It returns errKilled where the command is to die, after the last byte
// that may pass has passed.
func (g *gate) pass(n int) (int, error) {
	if err := g.c.ctx.Err(); err != nil {
		return 0, errKilled
	}
	if limit, ok := g.c.sw.Hang[g.what]; ok {
		if g.passed >= limit {
			<-g.c.ctx.Done()
			return 0, errKilled
		}
		n = int(min(int64(n), limit-g.passed))
	}
	if limit, ok := g.c.sw.Die[g.what]; ok && !g.spared {
		if g.passed >= limit {
			if g.c.dies(g.what) {
				return 0, errKilled
			}
			g.spared = true
		} else {
			n = int(min(int64(n), limit-g.passed))
		}
	}
	return n, g.wait(int64(n))
}

// moved counts what has passed.
func (g *gate) moved(n int) { g.passed += int64(n) }

func (g *gate) wait(n int64) error {
	if g.c.sw.Rate <= 0 {
		return nil
	}
	due := time.Duration(float64(g.passed+n) / float64(g.c.sw.Rate) * float64(time.Second))
	t := time.NewTimer(due - time.Since(g.start))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-g.c.ctx.Done():
		return errKilled
	}
}

// dies tells whether a switch that kills is still armed.
func (c *call) dies(what string) bool {
	if c.sw.DieAlways {
		return true
	}
	armed := false
	_ = c.keep.update(func(st *state) error {
		armed = !st.Died[what]
		st.Died[what] = true
		return nil
	})
	return armed
}
