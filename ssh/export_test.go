package ssh

import "time"

// What the host's shell runs, for a test that lets another shell run it.

func CommandScript(commands ...[]string) (string, error) { return commandScript(commands) }

func EndScript(pid int, start string, grace time.Duration) string {
	return endScript(marker{pid, start}, grace)
}

func FindMarker(b []byte) (pid int, start string) {
	m, _ := findMarker(b)
	return m.pid, m.start
}

// SetIdle sets how long the connections to the host of p are kept when nobody uses them.
func SetIdle(p *Peer, d time.Duration) {
	h := p.link.host
	h.mu.Lock()
	defer h.mu.Unlock()
	h.idles = d
}
