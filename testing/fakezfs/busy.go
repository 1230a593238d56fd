package fakezfs

import (
	"bytes"
	"os"
	"slices"
	"strconv"
)

// marker says that a stream is at work on some datasets or snapshots. It counts as long as its process lives.
type marker struct {
	ID    uint64   `json:"id"`
	What  string   `json:"what"` // send or receive
	Names []string `json:"names"`
	PID   int      `json:"pid"`
	Start string   `json:"start"`
}

func newMarker(what string, names ...string) marker {
	pid := os.Getpid()
	return marker{ID: newGUID(), What: what, Names: names, PID: pid, Start: startOf(pid)}
}

// mark adds a marker and forgets those of dead processes.
func (st *state) mark(m marker) {
	st.Busy = append(slices.DeleteFunc(slices.Clone(st.Busy), func(m marker) bool { return !m.alive() }), m)
}

// reap does for receives that were killed what the kernel does: those that have nothing to go on from leave nothing.
func (st *state) reap() {
	for _, m := range st.Busy {
		if m.What != "receive" || m.alive() {
			continue
		}
		for _, n := range m.Names {
			if d := st.Datasets[n]; d != nil && d.Partial != nil && d.token() == "" && !st.busy("receive", n) {
				st.dropPartial(d)
			}
		}
	}
}

func (st *state) unmark(m marker) {
	st.Busy = slices.DeleteFunc(slices.Clone(st.Busy), func(o marker) bool { return o.ID == m.ID })
}

// busy tells whether a stream is at work on a name.
func (st *state) busy(what, name string) bool {
	return slices.ContainsFunc(st.Busy, func(m marker) bool {
		return m.What == what && slices.Contains(m.Names, name) && m.alive()
	})
}

func (m marker) alive() bool { return m.Start == startOf(m.PID) }

// startOf returns when a process started, as the kernel counts it, or "" if it has ended.
func startOf(pid int) string {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	// The name of the program may hold anything, so fields count from its closing bracket.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 || fields[0][0] == 'Z' || fields[0][0] == 'X' {
		return ""
	}
	return string(fields[19])
}
